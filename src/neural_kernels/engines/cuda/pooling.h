// What becomes of the rows that leave a stage: pooled into the next stage's planes, or summed.
//
// With offset d = w e + r, 0 <= r < w, positions of place a < w - r in their window belong to the pooled offset e, the
// others to e + 1. A warp has all offsets of some e, the r of rows one after the other, and slots of its own in memory
// for e and for e + 1 in each direction: no two warps add to one number, so that sums have one order and need no atomics.
#pragma once

#include "march.h"

namespace {

// Planes side by side: `chunk` horizontal r of each of `groups` groups, where not all r fit.
template <int s> struct Groups : Grid<s> {
    using G = Grid<s>;
    static constexpr int chunk = G::planes < G::window_x ? G::planes : G::window_x;
    static constexpr int groups = G::planes / chunk;
    static constexpr int count = G::groups_y * G::groups_x;  // of the stage
    static constexpr int tasks = (count + groups - 1) / groups;
    static constexpr int coarse_height = G::height / G::window_y, coarse_width = G::width / G::window_x;
    static constexpr int coarse_columns = Stage<s>::next_columns;
    static constexpr int coarse_lanes = (coarse_width + coarse_columns - 1) / coarse_columns;
    static constexpr int coarse_stride = coarse_lanes * coarse_columns;
    static constexpr int64_t slot = (int64_t)coarse_height * coarse_width * coarse_height * coarse_stride;
    static constexpr int staging = 2 * G::planes * G::stride;  // numbers of a warp

    NK_INLINE Ints row_of(Ints group) { return (group / G::groups_x + G::group_start_y) % coarse_height; }
    NK_INLINE Ints column_of(Ints group) { return (group % G::groups_x + G::group_start_x) % coarse_width; }
};

template <int s, int mode> struct Pooling {
    using G = Groups<s>;
    using T = typename G::T;
    using Values = typename G::Values;
    static constexpr int each = (2 * G::groups * G::coarse_width + 31) / 32;  // pooled numbers of a lane
    using Pooled = P<T, each>;
    T *staging;
    T *slots_k, *slots_t;
    Ints put_at[G::C], from[each], to[2][each];
    Truth sent[G::C], upper[each], real[each];
    Pooled k[2], t[2];
    int r_y, r_x;
    bool begins;

    NK_METHOD void set(const Place<s> &at, int task, int row_offset, int column_offset, bool first) {
        r_y = row_offset, r_x = column_offset, begins = first;
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) {
            put_at[c] = at.plane * G::stride + at.left_place[c];
            sent[c] = (at.plane < ints(G::planes)) & at.column[c];
        }
        NK_UNROLLED
        for (int n = 0; n < each; n++) {
            Ints number = at.lane + 32 * n, x = number % G::coarse_width, rest = number / G::coarse_width;
            Ints group = rest % G::groups, one = rest / G::groups, all = task * G::groups + group;
            real[n] = (number < ints(2 * G::groups * G::coarse_width)) & (all < ints(G::count));
            upper[n] = one > ints(0);
            all = choose(all < ints(G::count), all, ints(0));
            group = choose(real[n], group, ints(0));
            from[n] = group * (G::chunk * G::stride);
            Ints place = (x % G::coarse_columns) * G::coarse_lanes + x / G::coarse_columns;
            Ints d_x = (G::column_of(all) + one) % G::coarse_width;
            NK_UNROLLED
            for (int u = 0; u < 2; u++) {
                Ints d_y = (G::row_of(all) + u) % G::coarse_height;
                Ints plane = d_y * G::coarse_width + d_x;
                to[u][n] = plane * (G::coarse_height * G::coarse_stride) + place +
                           choose(upper[n], ints((int)G::slot), ints(0));
            }
        }
        clear();
    }
    NK_METHOD void clear() {
        NK_UNROLLED
        for (int u = 0; u < 2; u++) k[u] = t[u] = Pooled::each(splat(T(0)));
    }
    // Adds the windows of the staged row.
    NK_METHOD void gather(const T *row, Pooled &total) {
        NK_UNROLLED
        for (int n = 0; n < each; n++) {
            Ints x = ((lane_numbers() + 32 * n) % G::coarse_width) * G::window_x;
            NK_UNROLLED
            for (int r = 0; r < G::chunk; r++)
                NK_UNROLLED
                for (int a = 0; a < G::window_x; a++) {
                    auto value = take(row + r * G::stride, from[n] + G::place(x + a));
                    bool above = a >= G::window_x - (r_x + r), there = r_x + r < G::window_x;
                    Truth mine = above ? upper[n] : opposite(upper[n]);
                    total.v[n] = total.v[n] + choose(mine & truth(there), value, splat(T(0)));
                }
        }
    }
    NK_METHOD void row(int i, Values row_k, Values row_t) {
        NK_UNROLLED
        for (int c = 0; c < G::C; c++) {
            put(staging, put_at[c], row_k.v[c], sent[c]);
            if constexpr (mode == NTK) put(staging + G::planes * G::stride, put_at[c], row_t.v[c], sent[c]);
        }
        sync_warp();
        const int a = i % G::window_y, above = a >= G::window_y - r_y;
        Pooled k_windows = Pooled::each(splat(T(0))), t_windows = k_windows;
        gather(staging, k_windows);
        if constexpr (mode == NTK) gather(staging + G::planes * G::stride, t_windows);
        if (above) {
            k[1] = k[1] + k_windows;
            if constexpr (mode == NTK) t[1] = t[1] + t_windows;
        } else {
            k[0] = k[0] + k_windows;
            if constexpr (mode == NTK) t[0] = t[0] + t_windows;
        }
        sync_warp();
        if (a == G::window_y - 1) flush(i / G::window_y);
    }
    // To the slots: written by the first planes of the group, added to by the others.
    NK_METHOD void flush(int coarse_row) {
        NK_UNROLLED
        for (int u = 0; u < 2; u++) {
            if (!begins && u == 1 && r_y == 0) continue;
            NK_UNROLLED
            for (int n = 0; n < each; n++) {
                Ints index = to[u][n] + coarse_row * G::coarse_stride;
                add(slots_k + 2 * u * G::slot, index, k[u].v[n], real[n]);
                if constexpr (mode == NTK) add(slots_t + 2 * u * G::slot, index, t[u].v[n], real[n]);
            }
        }
        clear();
    }
    NK_METHOD void add(T *slots, Ints index, Vec<T> value, Truth where) {
        put(slots, index, begins ? value : take(slots, index) + value, where);
    }
};

// A lane's sum over the rows and columns of its plane.
template <int s, int mode> struct Sum {
    using T = typename Grid<s>::T;
    const Place<s> &at;
    Vec<T> k, t;
    NK_METHOD void row(int, typename Grid<s>::Values row_k, typename Grid<s>::Values row_t) {
        k = k + of_columns(row_k);
        if constexpr (mode == NTK) t = t + of_columns(row_t);
    }
    NK_METHOD Vec<T> of_columns(typename Grid<s>::Values v) {
        auto r = Grid<s>::ragged ? choose(at.column[0], v.v[0], splat(T(0))) : v.v[0];
        NK_UNROLLED
        for (int c = 1; c < Grid<s>::C; c++)
            r = r + (Grid<s>::ragged ? choose(at.column[c], v.v[c], splat(T(0))) : v.v[c]);
        return r;
    }
};

struct Nothing {
    template <class Values> NK_METHOD void row(int, Values, Values) {}
};

// Sum over `count` lanes from `first` on, one after the other.
NK_INLINE Vec<double> over_lanes(Vec<double> v, Ints first, int count) {
    auto sum = shuffle(v, first);
    for (int i = 1; i < count; i++) sum = sum + shuffle(v, first + i);
    return sum;
}

}  // namespace
