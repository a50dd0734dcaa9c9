// The layers between two poolings, all at once: a warp marches down the rows of some planes.
//
// K[p, q] is kept by offset d = q - p modulo the image's size, so that every offset is a plane of the size of the
// image. Where p or q steps over the image's edge a filter sees nothing: there the plane has a seam. A lane has
// `columns` neighbouring columns of one plane. A layer gives row i - half_y when row i comes in, to the layer behind
// it; what waits, sums of rows over the filter, is in registers, and nothing of a stage is in memory.
#pragma once

#include "tail.h"

namespace {

template <int s> struct Grid : Stage<s> {
    using S = Stage<s>;
    using T = typename S::T;
    using Values = P<T, S::columns>;
    static constexpr int C = S::columns;
    static constexpr int lanes = (S::width + C - 1) / C;  // of a plane
    static constexpr int stride = C * lanes;              // of a row, in memory
    static constexpr int positions = S::height * stride;
    static constexpr int planes = 32 / lanes;  // of a warp
    static constexpr bool ragged = stride != S::width;
    static constexpr bool equal = S::end == SUM_DIAGONAL;
    // Planes of several pairs: a NaN of one must not reach another through a product with zero.
    static constexpr bool mixed = DIAGONAL && s == 0 && planes > 1;
    // Where column x lies in a row: lanes next to each other read numbers next to each other.
    NK_INLINE Ints place(Ints x) { return (x % C) * lanes + x / C; }
};

// Where the lanes are: which plane and columns, of which examples.
template <int s> struct Place {
    using G = Grid<s>;
    using T = typename G::T;
    const T *left, *right;            // the stage's inputs and tables of both examples
    const typename Before<s>::T *slots_k, *slots_t;  // what the stage before has pooled
    Ints lane, plane, dy, dx, seam;
    Ints left_place[G::C], right_place[G::C];
    typename G::Values joined_left, joined_right;  // 1, or 0 where a filter sees nothing beyond
    Ints reach_left[G::C], reach_right[G::C];      // columns that a filter sees to each side
    Truth column[G::C];                            // whether there is such a column

    NK_METHOD void set(Ints plane_y, Ints plane_x, Ints right_shift) {
        lane = lane_numbers();
        dy = plane_y, dx = plane_x;
        plane = lane / G::lanes;
        Ints number = lane % G::lanes;
        seam = G::height - dy;
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) {
            Ints x = number * G::C + c, q = x + dx, edge = G::width - dx;
            column[c] = x < ints(G::width);
            left_place[c] = choose(column[c], number + c * G::lanes, ints(0));
            right_place[c] = G::place(q % G::width) + right_shift;
            Ints start = choose(x < edge, ints(0), edge), end = choose(x < edge, edge, ints(G::width));
            reach_left[c] = x - start;
            reach_right[c] = end - 1 - x;
            joined_left.v[c] = choose(reach_left[c] > ints(0), splat(T(1)), splat(T(0)));
            joined_right.v[c] = choose(reach_right[c] > ints(0), splat(T(1)), splat(T(0)));
        }
    }
    NK_METHOD Ints right_row(int i) const {
        Ints q = i + dy;
        return choose(q >= ints(G::height), q - G::height, q) * G::stride;
    }
    NK_METHOD typename G::Values left_values(int number, int i) const {
        typename G::Values r;
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) r.v[c] = take(left + number * G::positions + i * G::stride, left_place[c]);
        return r;
    }
    NK_METHOD typename G::Values right_values(int number, Ints row) const {
        typename G::Values r;
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) r.v[c] = take(right + number * G::positions, row + right_place[c]);
        return r;
    }
};

// Sums over the columns of a filter.
template <int s, int half> NK_INLINE typename Grid<s>::Values across(const Place<s> &at, typename Grid<s>::Values v) {
    using G = Grid<s>;
    using V = Vec<typename G::T>;
    auto r = v;
    if constexpr (half == 1) {
        V before = shuffle(v.v[G::C - 1], at.lane - 1), after = shuffle(v.v[0], at.lane + 1);
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) {
            V one = c > 0 ? v.v[c > 0 ? c - 1 : 0] : before, other = c < G::C - 1 ? v.v[c < G::C - 1 ? c + 1 : 0] : after;
            if constexpr (G::mixed) {
                one = choose(at.reach_left[c] > ints(0), one, splat(typename G::T(0)));
                other = choose(at.reach_right[c] > ints(0), other, splat(typename G::T(0)));
                r.v[c] = r.v[c] + one + other;
            } else {
                r.v[c] = fma(other, at.joined_right.v[c], fma(one, at.joined_left.v[c], r.v[c]));
            }
        }
    } else {
        NK_UNROLLED
        for (int k = 1; k <= half; k++)
            NK_UNROLLED
            for (int c = 0; c < G::C; c++) {
                // Column c - k is column `rest` of a lane so many before, c + k of one so many after.
                int rest = ((c - k) % G::C + G::C) % G::C, back = (rest - c + k) / G::C, ahead = (c + k) / G::C;
                V one = shuffle(v.v[rest], at.lane - back), other = shuffle(v.v[(c + k) % G::C], at.lane + ahead);
                r.v[c] = r.v[c] + choose(at.reach_left[c] >= ints(k), one, splat(typename G::T(0)));
                r.v[c] = r.v[c] + choose(at.reach_right[c] >= ints(k), other, splat(typename G::T(0)));
            }
    }
    return r;
}

// Sums over the rows of a filter that are not complete: waiting[j], of all rows before i, belongs to row i - half + j.
template <int s, int half> struct Waiting {
    using G = Grid<s>;
    using Values = typename G::Values;
    Values waiting[2 * half];

    NK_METHOD void clear() {
        NK_UNROLLED
        for (int j = 0; j < 2 * half; j++) waiting[j] = Values::each(splat(typename G::T(0)));
    }
    // Row i comes in: gives the sum of row i - half.
    NK_METHOD Values enter(const Place<s> &at, int i, Values row) {
        using T = typename G::T;
        Values sum;
        if constexpr (G::equal) {
            sum = waiting[0] + row;
            NK_UNROLLED
            for (int j = 1; j < 2 * half; j++) waiting[j - 1] = waiting[j] + row;
        } else if constexpr (half == 1) {
            Values joined = Values::each(choose(at.seam == ints(i), splat(T(0)), splat(T(1))));
            sum = fma(row, joined, waiting[0]);
            waiting[0] = fma(waiting[1], joined, row);
        } else {
            Ints since = choose(at.seam > ints(i), ints(i), i - at.seam);  // rows since the seam
            sum = waiting[0] + kept(since >= ints(half), row);
            NK_UNROLLED
            for (int j = 1; j < 2 * half; j++)
                waiting[j - 1] = j < half ? waiting[j] + kept(since >= ints(half - j), row)
                                          : kept(since > ints(0), waiting[j]) + row;
        }
        waiting[2 * half - 1] = row;
        return sum;
    }
    // No more rows come in.
    NK_METHOD Values leave() {
        Values sum = waiting[0];
        NK_UNROLLED
        for (int j = 1; j < 2 * half; j++) waiting[j - 1] = waiting[j];
        waiting[2 * half - 1] = Values::each(splat(typename G::T(0)));
        return sum;
    }
    NK_INLINE Values kept(Truth where, Values v) {
        Values r;
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) r.v[c] = choose(where, v.v[c], splat(typename G::T(0)));
        return r;
    }
};

template <int s> struct Waiting<s, 0> {
    using Values = typename Grid<s>::Values;
    NK_METHOD void clear() {}
    NK_METHOD Values enter(const Place<s> &, int, Values row) { return row; }
    NK_METHOD Values leave() { return Values::each(splat(typename Grid<s>::T(0))); }
};

template <int s, int l> struct PairTables {
    const Place<s> &at;
    int row;
    Ints right_row;
    NK_METHOD typename Grid<s>::Values left(int table) const { return at.left_values(Layer<l>::table + table, row); }
    NK_METHOD typename Grid<s>::Values right(int table) const {
        return at.right_values(Layer<l>::table + table, right_row);
    }
};

// Layer l of all, of stage s, and the layers of the stage behind it.
template <int s, int l, int mode, bool past = (l >= Stage<s>::first + Stage<s>::layers)> struct Layers {
    using G = Grid<s>;
    using L = Layer<l>;
    using T = typename G::T;
    using Values = typename G::Values;
    static constexpr bool tangent = mode == NTK, first = l == 0 && L::affine;
    Waiting<s, L::half_y> k_rows, t_rows;
    Layers<s, l + 1, mode> rest;

    NK_METHOD void clear() {
        k_rows.clear();
        if constexpr (tangent && !first) t_rows.clear();
        rest.clear();
    }
    // Row i of the layer's input; none where it is past the last one. `edges`: some layer has no row now.
    template <bool edges, class Out>
    NK_METHOD void enter(const Place<s> &at, const AllNumbers &numbers, int i, Values k, Values t, Out &out) {
        if (edges && i < 0) return;
        if (edges && i >= G::height) {
            k = k_rows.leave();
            if constexpr (tangent && !first) t = t_rows.leave();
        } else {
            k = k_rows.enter(at, i, across<s, L::half_x>(at, k));
            if constexpr (tangent && !first) t = t_rows.enter(at, i, across<s, L::half_x>(at, t));
        }
        int o = i - L::half_y;
        if (!edges || (o >= 0 && o < G::height)) {
            const auto &step = step_of<l>(numbers);
            if constexpr (mode == OWN) {
                OwnTables<Values> tables;
                own_tables(at, step, o, k, tables);
                layer_entries<typename L::Act, false, false>(step, tables, k, t);
            } else {
                layer_entries<typename L::Act, tangent, first>(step, PairTables<s, l>{at, o, at.right_row(o)}, k, t);
            }
        }
        rest.template enter<edges>(at, numbers, o, k, t, out);
    }
    // Makes the tables of row o and stores them, once, with the example.
    NK_INLINE void own_tables(const Place<s> &at, const Step<l> &step, int o, Values sums, OwnTables<Values> &tables) {
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) {
            Vec<T> values[3];
            tables_of<typename L::Act, T>(step, sums.v[c], values);
            NK_UNROLLED
            for (int i = 0; i < L::tables; i++) {
                tables.values[i].v[c] = values[i];
                put((T *)at.left + (L::table + i) * G::positions + o * G::stride, at.left_place[c], values[i],
                    at.column[c] & (at.plane == ints(0)));
            }
        }
    }
};

template <int s, int l, int mode> struct Layers<s, l, mode, true> {
    NK_METHOD void clear() {}
    template <bool edges, class Out>
    NK_METHOD void enter(const Place<s> &, const AllNumbers &, int i, typename Grid<s>::Values k,
                         typename Grid<s>::Values t, Out &out) {
        if (!edges || (i >= 0 && i < Grid<s>::height)) out.row(i, k, t);
    }
};

// Row i of the covariances of the inputs, channels summed in the native engine's chunks.
template <int mode> NK_INLINE typename Grid<0>::Values input_row(const Place<0> &at, int i) {
    using G = Grid<0>;
    using T = typename G::T;
    Ints right_row = at.right_row(i);
    auto total = G::Values::each(splat(T(0)));
    for (int begin = 0; begin < CHANNELS; begin += 128) {
        auto sum = G::Values::each(splat(T(0)));
        const int end = begin + 128 < CHANNELS ? begin + 128 : CHANNELS;
        for (int c = begin; c < end; c++) sum = fma(at.left_values(c, i), at.right_values(c, right_row), sum);
        total = begin ? total + sum : sum;
    }
    if constexpr (mode == OWN) {  // positive where it underflows to zero
        for (int c = 0; c < CHANNELS; c++) {
            auto x = at.left_values(c, i);
            for (int j = 0; j < G::C; j++) {
                auto lost = (x.v[j] != splat(T(0))) & (total.v[j] < splat(Constants<T>::smallest));
                total.v[j] = lost ? splat(underflown<T>) : total.v[j];
            }
        }
    }
    return total;
}

// The march. `slots` of the stage before are summed here, once for each entry.
template <int s, int mode, class Out> NK_INLINE void march(const Place<s> &at, const AllNumbers &numbers, Out &out) {
    using G = Grid<s>;
    using T = typename G::T;
    constexpr int delay = G::delay;
    const auto nothing = G::Values::each(splat(T(0)));
    const Ints plane = (at.dy * G::width + at.dx) * G::positions;
    Layers<s, Stage<s>::first, mode> layers;
    layers.clear();
    auto pooled = [&](const typename Before<s>::T *slots, int i) {
        typename G::Values r;
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) {
            Ints index = plane + i * G::stride + at.left_place[c];
            constexpr int64_t size = (int64_t)G::height * G::width * G::positions;
            auto slot = [&](int n) { return converted<T>(take(slots + n * size, index)); };
            r.v[c] = (slot(0) + slot(1)) + (slot(2) + slot(3));
        }
        return r;
    };
    auto k_row = [&](int i) {
        if constexpr (s == 0)
            return input_row<mode>(at, i);
        else
            return pooled(at.slots_k, i);
    };
    auto t_row = [&](int i) {
        if constexpr (s > 0 && mode == NTK)
            return pooled(at.slots_t, i);
        else
            return nothing;
    };
    NK_ROLLED
    for (int i = 0; i < G::height + delay; i++) {
        if (delay > 0 && i == delay)
            NK_ROLLED
            for (; i < G::height; i++) layers.template enter<false>(at, numbers, i, k_row(i), t_row(i), out);
        if (delay == 0)
            layers.template enter<false>(at, numbers, i, k_row(i), t_row(i), out);
        else if (i < G::height)
            layers.template enter<true>(at, numbers, i, k_row(i), t_row(i), out);
        else
            layers.template enter<true>(at, numbers, i, nothing, nothing, out);
    }
}

}  // namespace
