// Covariances of the inputs, from which the first step of a chain starts.
#pragma once

#include "rows.h"

namespace {

// Covariances of one row of positions of the inputs. Channels are summed in chunks, in the order of dense.h.
static constexpr int64_t CHUNK = 128;

template <bool own, int known, class T, int N>
NK_INLINE void input_entries(const char *left, const Vec<T> *right, int64_t any, Vec<T> *out) {
    const int64_t channels = known ? known : any;
    for (int64_t begin = 0; begin < channels; begin += CHUNK) {
        int64_t end = begin + CHUNK < channels ? begin + CHUNK : channels;
        Vec<T> sum[N];
        for (int i = 0; i < N; i++) sum[i] = splat(T(0));
        for (int64_t c = begin; c < end; c++)
            for (int i = 0; i < N; i++)
                sum[i] = fma(left_value<own, T>(left, i * channels + c), right[i * channels + c], sum[i]);
        for (int i = 0; i < N; i++) out[i] = begin ? out[i] + sum[i] : sum[i];
    }
}

template <bool own, int known, class T>
static void input_row_of(const char *left, const Vec<T> *right, int64_t any, int n, Vec<T> *out) {
    constexpr int64_t size = own ? sizeof(Vec<T>) : sizeof(T);
    const int64_t channels = known ? known : any;
    int j = 0;
    for (; j + 4 <= n; j += 4)
        input_entries<own, known, T, 4>(left + j * channels * size, right + j * channels, channels, out + j);
    for (; j < n; j++)
        input_entries<own, known, T, 1>(left + j * channels * size, right + j * channels, channels, out + j);
}

template <bool own, class T>
static void input_row(const char *left, const Vec<T> *right, int64_t channels, int n, Vec<T> *out) {
    if (channels == 3)  // the loop over colours unrolled
        input_row_of<own, 3, T>(left, right, channels, n, out);
    else
        input_row_of<own, 0, T>(left, right, channels, n, out);
}

// The same for SHARED left examples at once: the right ones are then loaded once for all of them.
static constexpr int SHARED = 8;

template <class T>
static void input_row_shared(const T *const *left, const Vec<T> *right, int64_t channels, int n, Vec<T> *const *out) {
    for (int j = 0; j < n; j++, right += channels)
        for (int64_t begin = 0; begin < channels; begin += CHUNK) {
            int64_t end = begin + CHUNK < channels ? begin + CHUNK : channels;
            Vec<T> sum[SHARED];
            for (int i = 0; i < SHARED; i++) sum[i] = splat(T(0));
            for (int64_t c = begin; c < end; c++)
                for (int i = 0; i < SHARED; i++) sum[i] = fma(splat(left[i][j * channels + c]), right[c], sum[i]);
            for (int i = 0; i < SHARED; i++) out[i][j] = begin ? out[i][j] + sum[i] : sum[i];
        }
}

}  // namespace
