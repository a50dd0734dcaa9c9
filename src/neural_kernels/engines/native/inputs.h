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

// The same of letters.
template <bool own, class T>
static void letter_row(const char *left, const Vec<T> *right, const Plan &plan, int n, Vec<T> *out) {
    const T *gram = (const T *)plan.gram;
    for (int j = 0; j < n; j++)
        if constexpr (own)
            out[j] = look_up(gram, fma(((const Vec<T> *)left)[j], splat(T(plan.right_letters)), right[j]));
        else
            out[j] = look_up(gram + (int64_t)((const T *)left)[j] * plan.right_letters, right[j]);
}

// Entry by entry with the arithmetic of `input_entries`, so that letters make no difference to any bit.
template <class T>
static void letter_products(const T *left, int64_t n_left, const T *right, int64_t n_right, int64_t channels,
                            T *gram) {
    for (int64_t i = 0; i < n_left; i++)
        for (int64_t j = 0; j < n_right; j++) {
            Vec<T> letter[CHUNK], product = splat(T(0));
            for (int64_t begin = 0; begin < channels; begin += CHUNK) {
                int64_t count = channels - begin < CHUNK ? channels - begin : CHUNK;
                for (int64_t c = 0; c < count; c++) letter[c] = splat(right[j * channels + begin + c]);
                Vec<T> sum;
                input_entries<false, 0, T, 1>((const char *)(left + i * channels + begin), letter, count, &sum);
                product = begin ? product + sum : sum;
            }
            gram[i * n_right + j] = product[0];
        }
}

// Numbers that an example stores for a position.
NK_INLINE int64_t stored(const Plan &plan) { return plan.gram ? 1 : plan.channels; }

template <bool own, class T>
static void input_row(const char *left, const Vec<T> *right, const Plan &plan, int n, Vec<T> *out) {
    if (plan.gram)
        letter_row<own, T>(left, right, plan, n, out);
    else if (plan.channels == 3)  // the loop over colours unrolled
        input_row_of<own, 3, T>(left, right, plan.channels, n, out);
    else
        input_row_of<own, 0, T>(left, right, plan.channels, n, out);
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
