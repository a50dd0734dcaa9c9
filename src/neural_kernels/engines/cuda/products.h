// Pairs of examples of one position, fully connected networks: products of their features, then the layers.
//
// A warp has tiles of some rows and twice as many columns as lanes; a slice of the features of both sides goes
// through shared memory of its own. Features are summed in the native engine's chunks, in the same order for pairs and
// for own variances, whatever the tile.
#pragma once

#include "tail.h"

namespace {

static constexpr int ROWS = 8, COLUMNS = 64, SLICE = 16, CHUNK = 128;
static constexpr int STRIDE = COLUMNS + 1;  // so that lanes that write a column each meet different banks
static constexpr int STAGED = SLICE * (STRIDE + ROWS);
static_assert(ROWS * COLUMNS <= STAGED, "a tile's sums take the place of its features");

// Features [begin, begin + SLICE) of `count` examples from `first` on, feature by feature; zeros past the last feature.
template <int examples, int stride> NK_INLINE void stage(const char *first, int count, int begin, Result *to) {
    NK_UNROLLED
    for (int n = 0; n < examples * SLICE; n += 32) {
        Ints index = lane_numbers() + n, feature = index % SLICE, example = index / SLICE;
        Ints from = choose(example < ints(count), example, ints(count - 1)) * (int)(EXAMPLE_BYTES / sizeof(Result));
        Truth there = begin + feature < ints(CHANNELS);
        auto value = take((const Result *)first, from + choose(there, begin + feature, ints(0)));
        put(to, feature * stride + example, choose(there, value, splat(Result(0))), truth(true));
    }
}

// Products of ROWS left examples with COLUMNS right ones, row by row, two columns a lane: to `staged`.
NK_INLINE void products(const char *left, int rows, const char *right, int columns, Result *staged) {
    using Two = P<Result, 2>;
    Two total[ROWS], sum[ROWS];
    const auto nothing = Two::each(splat(Result(0)));
    NK_UNROLLED
    for (int r = 0; r < ROWS; r++) total[r] = sum[r] = nothing;
    NK_ROLLED
    for (int begin = 0; begin < CHANNELS; begin += SLICE) {
        stage<COLUMNS, STRIDE>(right, columns, begin, staged);
        stage<ROWS, ROWS>(left, rows, begin, staged + SLICE * STRIDE);
        sync_warp();
        NK_UNROLLED
        for (int f = 0; f < SLICE; f++) {
            Two b;
            b.v[0] = take(staged + f * STRIDE, lane_numbers());
            b.v[1] = take(staged + f * STRIDE + 32, lane_numbers());
            NK_UNROLLED
            for (int r = 0; r < ROWS; r++)
                sum[r] = fma(Two::each(take(staged + SLICE * STRIDE + f * ROWS + r, ints(0))), b, sum[r]);
        }
        sync_warp();
        if ((begin + SLICE) % CHUNK == 0 || begin + SLICE >= CHANNELS)
            NK_UNROLLED
            for (int r = 0; r < ROWS; r++) total[r] = total[r] + sum[r], sum[r] = nothing;
    }
    NK_UNROLLED
    for (int r = 0; r < ROWS; r++)
        NK_UNROLLED
        for (int half = 0; half < 2; half++)
            put(staged + r * COLUMNS + 32 * half, lane_numbers(), total[r].v[half], truth(true));
    sync_warp();
}

NK_INLINE void pairs_of_warps(const Work &work, Result *staged, int64_t warp, int64_t warps, const char *left,
                              const char *right, int n_left, int n_right, int from, Result *out) {
    const int down = (n_left + ROWS - 1) / ROWS, across = (n_right + COLUMNS - 1) / COLUMNS;
    for (int64_t item = warp; item < (int64_t)down * across; item += warps) {
        const int i = (int)(item % down) * ROWS, j = (int)(item / down) * COLUMNS;
        if (from >= 0 && j + COLUMNS <= from + i) continue;
        const int rows = n_left - i < ROWS ? n_left - i : ROWS, columns = n_right - j < COLUMNS ? n_right - j : COLUMNS;
        const char *first = left + i * EXAMPLE_BYTES, *other = right + j * EXAMPLE_BYTES;
        products(first, rows, other, columns, staged);
        NK_ROLLED
        for (int n = 0; n < 2 * rows; n++) {
            Ints column = lane_numbers() + 32 * (n % 2);
            Truth real = column < ints(columns);
            Ints shift = choose(real, column, ints(0)) * (int)(EXAMPLE_BYTES / sizeof(Result));
            auto k = P<Result, 1>::each(take(staged + n / 2 * COLUMNS, column));
            auto t = P<Result, 1>::each(splat(Result(0)));
            Tail<0, TANGENT ? NTK : NNGP>::run(work.numbers, first + n / 2 * EXAMPLE_BYTES, other, shift, real, k, t);
            put(out + (int64_t)(i + n / 2) * n_right + j, column, result_of(work.numbers, k, t), real);
        }
        sync_warp();
    }
}

NK_INLINE void all_pairs(const Work &work, int block, int blocks, const char *left, const char *right, int n_left,
                         int n_right, int from, Result *out) {
    each_warp(WARPS, [&](int warp) {
        pairs_of_warps(work, at_byte<Result>(work.shared, warp * STAGED * sizeof(Result)), block * WARPS + warp,
                       blocks * WARPS, left, right, n_left, n_right, from, out);
    });
}

// An example a lane.
NK_INLINE void tables_of_warp(const Work &work, int first, char *examples, int n) {
    Ints example = first + lane_numbers();
    Truth real = example < ints(n);
    char *base = examples + first * EXAMPLE_BYTES;
    Ints shift = choose(real, lane_numbers(), ints(0)) * (int)(EXAMPLE_BYTES / sizeof(Result));
    auto total = splat(Result(0)), sum = total, largest = total;
    NK_ROLLED
    for (int f = 0; f < CHANNELS; f++) {
        auto x = take((const Result *)base, shift + f);
        sum = fma(x, x, sum);
        largest = max(without_sign<Result>(x), largest);
        if ((f + 1) % CHUNK == 0 || f + 1 == CHANNELS) total = total + sum, sum = splat(Result(0));
    }
    auto lost = (largest > splat(Result(0))) & (total < splat(Constants<Result>::smallest));
    total = lost ? splat(underflown<Result>) : total;
    auto k = P<Result, 1>::each(total), t = k;
    Tail<0, OWN>::run(work.numbers, base, base, shift, real, k, t);
}

NK_INLINE void all_tables(const Work &work, int block, int blocks, char *examples, int n) {
    each_warp(WARPS, [&](int warp) {
        for (int first = 32 * (block * WARPS + warp); first < n; first += 32 * blocks * WARPS)
            tables_of_warp(work, first, examples, n);
    });
}

}  // namespace
