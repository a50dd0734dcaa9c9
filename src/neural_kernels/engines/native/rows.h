// One step on one row of positions, for one offset between the two examples' positions: box filter, scale
// and bias, normalisation and activation in a single pass, with K and T side by side.
#pragma once

#include "lanes.h"
#include "layers.h"
#include "plan.h"

// Registers worked on at a time: as many as leave room for the constants.
#ifndef NK_UNROLL
#define NK_UNROLL (NK_BYTES == 64 ? 4 : 2)
#endif

namespace {

template <class T> struct Row {
    using V = Vec<T>;
    const V *k[3], *t[3];      // input rows above, at and below; only [1] unless the shape is BOX3
    V *k_out, *t_out;
    const void *left;          // tables of the left example at the row's first position: T, or V when OWN
    const V *right;            // tables of the right examples there
    int64_t table_stride;      // from one table of a step to the next, in positions
    int64_t left_step, right_step;  // from one entry of the row to the next: 1, unless the shape is POINT
    int64_t n;
    const Step *step;
};

// OWN: each example with itself, so that the left side, too, differs from lane to lane.
enum Mode { NNGP = 0, NTK_FIRST = 1, NTK = 2, OWN = 3 };
enum Shape { POINT = 0, BOX3 = 1, LINE = 2 };

template <class T> using RowFunction = void (*)(const Row<T> &);

template <bool own, class T> NK_INLINE Vec<T> left_value(const void *left, int64_t i) {
    if constexpr (own)
        return ((const Vec<T> *)left)[i];
    else
        return splat(((const T *)left)[i]);
}

// Sums over the filter of N entries from j on; BOX3 carries the columns it shares with the next entries.
template <int shape, class T, int N> struct Box {
    using V = Vec<T>;
    V before, at;
    NK_INLINE V column(const V *const *rows, int64_t j) { return rows[0][j] + rows[1][j] + rows[2][j]; }
    NK_INLINE Box start(const V *const *rows) {
        Box box;
        box.before = box.at = splat(T(0));
        if constexpr (shape == BOX3) box.at = column(rows, 0);
        return box;
    }
    inline __attribute__((always_inline)) P<T, N> sum(const V *const *rows, int64_t j, int half) {
        P<T, N> r;
        if constexpr (shape == POINT) {
            for (int i = 0; i < N; i++) r.v[i] = rows[1][j + i];
        } else if constexpr (shape == BOX3) {
            for (int i = 0; i < N; i++) {
                V after = column(rows, j + i + 1);
                r.v[i] = before + at + after;
                before = at;
                at = after;
            }
        } else {
            for (int i = 0; i < N; i++) r.v[i] = rows[1][j + i - half];
            for (int h = 1 - half; h <= half; h++)
                for (int i = 0; i < N; i++) r.v[i] = r.v[i] + rows[1][j + i + h];
        }
        return r;
    }
};

// Tables of both examples from entry j of a row on.
template <bool own, int shape, class T, int N> struct RowTables {
    const Row<T> &row;
    int64_t j;
    NK_INLINE int64_t place(int64_t step, int64_t table, int64_t stride, int64_t j) {
        return table * stride + j * (shape == POINT ? step : 1);
    }
    inline __attribute__((always_inline)) P<T, N> left(int table) const {
        P<T, N> p;
        for (int i = 0; i < N; i++)
            p.v[i] = left_value<own, T>(row.left, place(row.left_step, table, row.table_stride, j + i));
        return p;
    }
    inline __attribute__((always_inline)) P<T, N> right(int table) const {
        P<T, N> p;
        for (int i = 0; i < N; i++) p.v[i] = row.right[place(row.right_step, table, row.table_stride, j + i)];
        return p;
    }
};

template <class Act, int shape, int mode, class T, int N>
NK_INLINE void entries(const Row<T> &row, const Step &step, int64_t j, Box<shape, T, N> &box_k,
                       Box<shape, T, N> &box_t) {
    constexpr bool own = mode == OWN, tangent = mode == NTK || mode == NTK_FIRST;
    P<T, N> k = box_k.sum(row.k, j, step.half_width), t;
    if constexpr (mode == NTK) t = box_t.sum(row.t, j, step.half_width);
    layer_entries<Act, tangent, mode == NTK_FIRST>(step, RowTables<own, shape, T, N>{row, j}, k, t);
    for (int i = 0; i < N; i++) {
        row.k_out[j + i] = k.v[i];
        if constexpr (tangent) row.t_out[j + i] = t.v[i];
    }
}

// All whole packs of N entries from j on; gives the columns that the boxes carry on to the next size of pack.
template <class Act, int shape, int mode, class T, int N, int M>
NK_INLINE void packs(const Row<T> &row, const Step &step, int64_t &j, Box<shape, T, M> &k, Box<shape, T, M> &t) {
    Box<shape, T, N> k_box, t_box;
    k_box.before = k.before, k_box.at = k.at;
    t_box.before = t.before, t_box.at = t.at;
    for (; j + N <= row.n; j += N) entries<Act, shape, mode, T, N>(row, step, j, k_box, t_box);
    k.before = k_box.before, k.at = k_box.at;
    t.before = t_box.before, t.at = t_box.at;
}

template <class Act, int shape, int mode, class T> static void step_row(const Row<T> &given) {
    // Copies, as the compiler could not know that the stores to the output leave the originals alone.
    const Row<T> row = given;
    const Step step = *given.step;
    auto k = Box<shape, T, 1>::start(row.k), t = k;
    if constexpr (mode == NTK) t = Box<shape, T, 1>::start(row.t);
    int64_t j = 0;
    // Several registers at a time fill the latency of each other's chains of operations.
    packs<Act, shape, mode, T, NK_UNROLL>(row, step, j, k, t);
    if constexpr (NK_UNROLL > 2) packs<Act, shape, mode, T, 2>(row, step, j, k, t);
    packs<Act, shape, mode, T, 1>(row, step, j, k, t);
}

template <class Act, int shape, class T> static RowFunction<T> of_mode(int mode) {
    switch (mode) {
    case NNGP: return step_row<Act, shape, NNGP, T>;
    case NTK_FIRST: return step_row<Act, shape, NTK_FIRST, T>;
    case NTK: return step_row<Act, shape, NTK, T>;
    default: return step_row<Act, shape, OWN, T>;
    }
}

template <class Act, class T> static RowFunction<T> of_shape(int shape, int mode) {
    switch (shape) {
    case POINT: return of_mode<Act, POINT, T>(mode);
    case BOX3: return of_mode<Act, BOX3, T>(mode);
    default: return of_mode<Act, LINE, T>(mode);
    }
}

template <class T> static RowFunction<T> row_function(int activation, int shape, int mode) {
    switch (activation) {
#define NK_CASE(code, Act) \
    case code: return of_shape<Act, T>(shape, mode);
        NK_ACTIVATIONS(NK_CASE)
#undef NK_CASE
    default: return nullptr;
    }
}

NK_INLINE int shape_of(const Step &step) {
    if (step.half_height == 1 && step.half_width == 1) return BOX3;
    return step.half_width == 0 ? POINT : LINE;
}

// The tables of one step from sums over the filter (n positions), each table_stride apart.
template <class Act, class T>
static void make_tables_of(const Step &step, const Vec<T> *sums, int n, Vec<T> *out, int64_t table_stride) {
    for (int j = 0; j < n; j++) {
        Vec<T> tables[3];
        tables_of<Act, T>(step, sums[j], tables);
        for (int i = 0; i < step.tables; i++) out[i * table_stride + j] = tables[i];
    }
}

template <class T>
static void make_tables(const Step &step, const Vec<T> *sums, int n, Vec<T> *out, int64_t table_stride) {
    switch (step.activation) {
#define NK_CASE(code, Act) \
    case code: return make_tables_of<Act, T>(step, sums, n, out, table_stride);
        NK_ACTIVATIONS(NK_CASE)
#undef NK_CASE
    }
}

// `step` without weights, which leaves the sums over the filter.
static Step sums_of(const Step &step) {
    Step plain = step;
    plain.normalised = plain.tables = 0;
    plain.scale = 1;
    plain.bias = 0;
    return plain;
}

}  // namespace
