// Pairs of examples that have positions, and their tables.
//
// A block of warps computes one pair at a time; where only equal positions meet (DIAGONAL) a warp computes some, by
// itself. Blocks go round the pairs, each with scratch memory of its own.
#pragma once

#include "pooling.h"

namespace {

template <int s> NK_INLINE const typename Before<s>::T *slots_of(const Work &work, bool tangent) {
    return at_byte<typename Before<s>::T>(work.scratch, Before<s>::scratch + (tangent ? Before<s>::scratch_half : 0));
}

// Copies bytes, all threads of the block together.
NK_INLINE void copy(char *to, const char *from, int64_t bytes) {
#if defined(NK_GPU)
    for (int64_t i = threadIdx.x; i < bytes / 8; i += blockDim.x) ((int64_t *)to)[i] = ((const int64_t *)from)[i];
#else
    memcpy(to, from, bytes);
#endif
}

// Stage s of one pair: fills the slots of the next one, or gives the block's sums.
template <int s, int mode, bool in_shared>
NK_INLINE void stage(const Work &work, const char *left, const char *right) {
    using G = Groups<s>;
    using T = typename G::T;
    const char *own_left = left + G::bytes_before, *own_right = right + G::bytes_before;
    if constexpr (in_shared) {
        copy(work.shared, own_left, G::bytes);
        copy(work.shared + G::bytes, own_right, G::bytes);
        own_left = work.shared, own_right = work.shared + G::bytes;
        sync_block();
    }
    each_warp(WARPS, [&](int warp) {
        Vec<double> sum_k = splat(0.0), sum_t = sum_k;
        for (int task = warp; task < G::tasks; task += WARPS)
            for (int r_y = G::window_y - 1; r_y >= 0; r_y--)
                for (int r_x = 0; r_x < G::window_x; r_x += G::chunk) {
                    Ints plane = lane_numbers() / G::lanes, group = plane / G::chunk, all = task * G::groups + group;
                    Truth real = (plane < ints(G::groups * G::chunk)) & (all < ints(G::count));
                    all = choose(real, all, ints(0));
                    Place<s> at;
                    at.left = (const T *)own_left, at.right = (const T *)own_right;
                    if constexpr (s > 0) at.slots_k = slots_of<s>(work, false), at.slots_t = slots_of<s>(work, true);
                    Ints d_y = G::row_of(all) * G::window_y + r_y;
                    Ints d_x = G::column_of(all) * G::window_x + plane % G::chunk + r_x;
                    at.set(d_y, d_x % G::width, ints(0));
                    if constexpr (G::end == AVERAGE) {
                        Pooling<s, mode> out;
                        out.staging = at_byte<T>(work.shared, SHARED_STAGING + warp * STAGING);
                        out.slots_k = (T *)slots_of<s + 1>(work, false);
                        out.slots_t = (T *)slots_of<s + 1>(work, true);
                        out.set(at, task, r_y, r_x, r_y == G::window_y - 1 && r_x == 0);
                        march<s, mode>(at, work.numbers, out);
                    } else {
                        Sum<s, mode> out{at, splat(T(0)), splat(T(0))};
                        march<s, mode>(at, work.numbers, out);
                        sum_k = sum_k + choose(real, converted<double>(out.k), splat(0.0));
                        sum_t = sum_t + choose(real, converted<double>(out.t), splat(0.0));
                    }
                }
        if constexpr (G::end != AVERAGE) {
            double *sums = at_byte<double>(work.shared, SHARED_SUMS) + 2 * warp;
            Truth one = lane_numbers() == ints(0);
            put(sums, ints(0), over_lanes(sum_k, ints(0), 32), one);
            put(sums, ints(1), over_lanes(sum_t, ints(0), 32), one);
        }
    });
}

// The block's sums, warp after warp.
NK_INLINE Vec<double> block_sum(const Work &work, int which) {
    const double *sums = at_byte<double>(work.shared, SHARED_SUMS);
    auto total = take(sums + which, ints(0));
    for (int warp = 1; warp < WARPS; warp++) total = total + take(sums + which, ints(2 * warp));
    return total;
}

template <int s, int mode, bool shared> NK_INLINE void stages(const Work &work, const char *left, const char *right) {
    if constexpr (s < STAGES) {
        stage<s, mode, shared && Stage<s>::in_shared>(work, left, right);
        stages<s + 1, mode, shared>(work, left, right);
    }
}

// All pairs of `n_left` with `n_right` examples; with from >= 0 those of row i on from column from + i.
NK_INLINE void pairs_of_blocks(const Work &work, int block, int blocks, const char *left, const char *right, int n_left,
                               int n_right, int from, Result *out) {
    constexpr int mode = TANGENT ? NTK : NNGP;
    for (int64_t pair = block; pair < (int64_t)n_left * n_right; pair += blocks) {
        const int i = (int)(pair / n_right), j = (int)(pair % n_right);
        if (from >= 0 && j < from + i) continue;
        const char *one = left + i * EXAMPLE_BYTES, *other = right + j * EXAMPLE_BYTES;
        stages<0, mode, true>(work, one, other);
        each_warp(1, [&](int warp) {
            if (warp > 0) return;
            auto k = P<Result, 1>::each(converted<Result>(block_sum(work, 0)));
            auto t = P<Result, 1>::each(converted<Result>(block_sum(work, 1)));
            Tail<TAIL, mode>::run(work.numbers, one, other, ints(0), truth(true), k, t);
            put(out + pair, ints(0), result_of(work.numbers, k, t), lane_numbers() == ints(0));
        });
    }
}

// The same where only equal positions meet: the planes of a warp are of one row and neighbouring columns.
NK_INLINE void pairs_of_warps(const Work &work, int warp, int warps, const char *left, const char *right, int n_left,
                              int n_right, int from, Result *out) {
    using G = Grid<0>;
    using T = G::T;
    constexpr int mode = TANGENT ? NTK : NNGP;
    const int across_row = (n_right + G::planes - 1) / G::planes;
    for (int64_t item = warp; item < (int64_t)n_left * across_row; item += warps) {
        const int i = (int)(item / across_row), j = (int)(item % across_row) * G::planes;
        if (from >= 0 && j + G::planes <= from + i) continue;
        const char *one = left + i * EXAMPLE_BYTES, *other = right + j * EXAMPLE_BYTES;
        Ints plane = lane_numbers() / G::lanes;
        Truth real = (plane < ints(G::planes)) & (j + plane < ints(n_right));
        plane = choose(real, plane, ints(0));
        Place<0> at;
        at.left = (const T *)one, at.right = (const T *)other;
        at.set(ints(0), ints(0), plane * (int)(EXAMPLE_BYTES / sizeof(T)));
        Sum<0, mode> sum{at, splat(T(0)), splat(T(0))};
        march<0, mode>(at, work.numbers, sum);
        auto total_k = over_lanes(converted<double>(sum.k), plane * G::lanes, G::lanes);
        auto total_t = over_lanes(converted<double>(sum.t), plane * G::lanes, G::lanes);
        auto k = P<Result, 1>::each(converted<Result>(total_k)), t = P<Result, 1>::each(converted<Result>(total_t));
        Tail<TAIL, mode>::run(work.numbers, one, other, plane * (int)(EXAMPLE_BYTES / sizeof(Result)), real, k, t);
        put(out + (int64_t)i * n_right + j, plane, result_of(work.numbers, k, t),
            real & (lane_numbers() == plane * G::lanes));
    }
}

// An example's tables, stage by stage, by the arithmetic of the pairs: it meets itself with a correlation of exactly 1.
template <int s> NK_INLINE void tables_from(const Work &work, char *example) {
    if constexpr (s >= STAGES_WITH_TABLES) {
        return;
    } else if constexpr (s < STAGES) {
        each_warp(1, [&](int warp) {
            if (warp > 0) return;
            Place<s> at;
            at.left = at.right = at_byte<typename Grid<s>::T>(example, Stage<s>::bytes_before);
            if constexpr (s > 0) at.slots_k = slots_of<s>(work, false), at.slots_t = at.slots_k;
            at.set(ints(0), ints(0), ints(0));
            Nothing out;
            march<s, OWN>(at, work.numbers, out);
        });
        if constexpr (s + 1 < STAGES_WITH_TABLES) stage<s, NNGP, false>(work, example, example);
        tables_from<s + 1>(work, example);
    } else {
        each_warp(1, [&](int warp) {
            if (warp > 0) return;
            auto k = P<Result, 1>::each(converted<Result>(block_sum(work, 0))), t = k;
            Tail<TAIL, OWN>::run(work.numbers, example, example, ints(0), lane_numbers() == ints(0), k, t);
        });
    }
}

NK_INLINE void all_pairs(const Work &work, int block, int blocks, const char *left, const char *right, int n_left,
                         int n_right, int from, Result *out) {
    if constexpr (DIAGONAL)
        each_warp(WARPS, [&](int warp) {
            pairs_of_warps(work, block * WARPS + warp, blocks * WARPS, left, right, n_left, n_right, from, out);
        });
    else
        pairs_of_blocks(work, block, blocks, left, right, n_left, n_right, from, out);
}

NK_INLINE void all_tables(const Work &work, int block, int blocks, char *examples, int n) {
    for (int i = block; i < n; i += blocks) tables_from<0>(work, examples + i * EXAMPLE_BYTES);
}

}  // namespace
