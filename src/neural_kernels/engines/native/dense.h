// Networks on a single position (fully connected ones): a blocked matrix product of the features, then the
// layers on each finished tile while it is in cache. Every entry sums its features in the same order whatever
// the tile, which a general BLAS does not promise.
#pragma once

#include "chain.h"

namespace {

template <class T> struct Tile {
    static constexpr int L = Lanes<T>::count;
#if defined(__AVX512F__)
    static constexpr int ROWS = 8, COLUMNS = 3;
#else
    static constexpr int ROWS = L < 4 ? L : 4, COLUMNS = 3;
#endif
};

// ROWS left examples (numbers L apart from feature to feature) times `columns` registers of right ones.
// The pragmas keep the sums in registers: a loop left standing would put them in memory.
template <class T, int columns>
static void product(const T *left, const Vec<T> *right, int64_t right_stride, int64_t count, bool first, Vec<T> *out,
                    int64_t out_stride) {
    constexpr int ROWS = Tile<T>::ROWS, L = Lanes<T>::count;
    Vec<T> sum[ROWS][columns];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) sum[i][j] = splat(T(0));
    for (int64_t c = 0; c < count; c++) {
        Vec<T> b[columns];
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) b[j] = right[j * right_stride + c];
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++) {
            Vec<T> a = splat(left[c * L + i]);
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++) sum[i][j] = fma(a, b[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) {
            Vec<T> &o = out[i * out_stride + j];
            o = first ? sum[i][j] : o + sum[i][j];
        }
}

// Products of all features: left examples `first` to `last`, times the registers `begin` to `end` of right ones,
// into rows that are `stride` registers apart. Examples are `scalars` numbers, of which the first are the features.
template <class T>
static void products(const Vec<T> *left, int64_t first, int64_t last, const Vec<T> *right, int64_t begin, int64_t end,
                     int64_t features, int64_t scalars, bool triangle, Vec<T> *out, int64_t stride) {
    constexpr int L = Lanes<T>::count, ROWS = Tile<T>::ROWS, COLUMNS = Tile<T>::COLUMNS;
    for (int64_t chunk = 0; chunk < features; chunk += CHUNK) {
        int64_t count = features - chunk < CHUNK ? features - chunk : CHUNK;
        for (int64_t g = begin; g < end; g += COLUMNS)
            for (int64_t i = first; i < last; i += ROWS) {
                int64_t columns = end - g < COLUMNS ? end - g : COLUMNS;
                if (triangle && (g + columns) * L <= i) continue;
                const T *a = (const T *)(left + (i / L) * scalars + chunk) + i % L;
                const Vec<T> *b = right + g * scalars + chunk;
                Vec<T> *o = out + (i - first) * stride + (g - begin);
                if (columns == 3) product<T, 3>(a, b, scalars, count, chunk == 0, o, stride);
                if (columns == 2) product<T, 2>(a, b, scalars, count, chunk == 0, o, stride);
                if (columns == 1) product<T, 1>(a, b, scalars, count, chunk == 0, o, stride);
            }
    }
}

template <class T>
static int dense_tile(const Plan &plan, bool tangent, const Vec<T> *left, int64_t first, int64_t last,
                      const Vec<T> *right, int64_t begin, int64_t end, int64_t n_left, int64_t n_right,
                      bool triangle, T *out, int64_t out_stride) {
    using V = Vec<T>;
    constexpr int L = Lanes<T>::count;
    const Stage &stage = plan.stages[0];
    int64_t groups = end - begin, tables = plan.scalars - plan.channels;
    Arena<T> arena;
    V *tile = arena.take((last - first) * groups), *tangents = arena.take(groups);
    T *own = (T *)arena.take(tables / L + 1);
    if (arena.exhausted) return 1;
    products<T>(left, first, last, right, begin, end, plan.channels, plan.scalars, triangle, tile, groups);
    for (int64_t i = first; i < last && i < n_left; i++) {
        const T *scalars = (const T *)(left + (i / L) * plan.scalars + plan.channels) + i % L;
        for (int64_t table = 0; table < tables; table++) own[table] = scalars[table * L];
        int64_t skipped = triangle && i / L > begin ? i / L - begin : 0;
        V *k = tile + (i - first) * groups + skipped;
        for (int l = 0; l < stage.steps; l++) {
            const Step &step = plan.steps[l];
            int mode = !tangent ? NNGP : l == 0 && step.affine ? NTK_FIRST : NTK;
            if (tangent && l == 0) memset((void *)tangents, 0, groups * sizeof(V));
            Row<T> row{};
            row.k[1] = row.k_out = k;
            row.t[1] = row.t_out = tangents;
            row.left = own + (step.table - plan.channels);
            row.right = right + (begin + skipped) * plan.scalars + step.table;
            row.table_stride = 1;
            row.left_step = 0;
            row.right_step = plan.scalars;
            row.n = groups - skipped;
            row.step = &step;
            row_function<T>(step.activation, POINT, mode)(row);
        }
        const V *value = tangent ? tangents : k;
        T scale = (T)plan.output_scale;
        for (int64_t g = begin + skipped; g < end; g++, value++)
            for (int lane = 0; lane < L && g * L + lane < n_right; lane++)
                out[i * out_stride + g * L + lane] = (*value)[lane] * scale;
    }
    return 0;
}

}  // namespace
