// One vector register of examples: the few operations that compilers do not derive by themselves.
//
// These headers are compiled once an instruction set, each time into a translation unit of its own. All is in
// unnamed namespaces: templates of the same name would otherwise be merged by the linker, across sets.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define NK_BYTES 64
#elif defined(__AVX2__)
#define NK_BYTES 32
#else
#define NK_BYTES 16
#endif

#define NK_INLINE static inline __attribute__((always_inline))
#define NK_UNROLLED _Pragma("GCC unroll 16")
#define NK_CONSTANTS static constexpr

namespace {

typedef double VectorD __attribute__((vector_size(NK_BYTES)));
typedef float VectorF __attribute__((vector_size(NK_BYTES)));
typedef int64_t MaskD __attribute__((vector_size(NK_BYTES)));
typedef int32_t MaskF __attribute__((vector_size(NK_BYTES)));

template <class T> struct Lanes;
template <> struct Lanes<double> {
    using V = VectorD;
    using Mask = MaskD;
    static constexpr int count = NK_BYTES / 8;
};
template <> struct Lanes<float> {
    using V = VectorF;
    using Mask = MaskF;
    static constexpr int count = NK_BYTES / 4;
};

// fma rounds once where the instruction set can; the build forbids the compiler to fuse by itself, so that
// the same formula gives the same bits wherever it is inlined.
#if defined(__AVX512F__)
NK_INLINE VectorD splat(double x) { return (VectorD)_mm512_set1_pd(x); }
NK_INLINE VectorF splat(float x) { return (VectorF)_mm512_set1_ps(x); }
NK_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return (VectorD)_mm512_fmadd_pd(a, b, c); }
NK_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return (VectorF)_mm512_fmadd_ps(a, b, c); }
NK_INLINE VectorD fnma(VectorD a, VectorD b, VectorD c) { return (VectorD)_mm512_fnmadd_pd(a, b, c); }
NK_INLINE VectorF fnma(VectorF a, VectorF b, VectorF c) { return (VectorF)_mm512_fnmadd_ps(a, b, c); }
NK_INLINE VectorD max(VectorD a, VectorD b) { return (VectorD)_mm512_max_pd(a, b); }
NK_INLINE VectorF max(VectorF a, VectorF b) { return (VectorF)_mm512_max_ps(a, b); }
NK_INLINE VectorD min(VectorD a, VectorD b) { return (VectorD)_mm512_min_pd(a, b); }
NK_INLINE VectorF min(VectorF a, VectorF b) { return (VectorF)_mm512_min_ps(a, b); }
NK_INLINE VectorD sqrt_exact(VectorD a) { return (VectorD)_mm512_sqrt_pd(a); }
NK_INLINE VectorF sqrt_exact(VectorF a) { return (VectorF)_mm512_sqrt_ps(a); }
#elif defined(__AVX2__)
NK_INLINE VectorD splat(double x) { return (VectorD)_mm256_set1_pd(x); }
NK_INLINE VectorF splat(float x) { return (VectorF)_mm256_set1_ps(x); }
NK_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return (VectorD)_mm256_fmadd_pd(a, b, c); }
NK_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return (VectorF)_mm256_fmadd_ps(a, b, c); }
NK_INLINE VectorD fnma(VectorD a, VectorD b, VectorD c) { return (VectorD)_mm256_fnmadd_pd(a, b, c); }
NK_INLINE VectorF fnma(VectorF a, VectorF b, VectorF c) { return (VectorF)_mm256_fnmadd_ps(a, b, c); }
NK_INLINE VectorD max(VectorD a, VectorD b) { return (VectorD)_mm256_max_pd(a, b); }
NK_INLINE VectorF max(VectorF a, VectorF b) { return (VectorF)_mm256_max_ps(a, b); }
NK_INLINE VectorD min(VectorD a, VectorD b) { return (VectorD)_mm256_min_pd(a, b); }
NK_INLINE VectorF min(VectorF a, VectorF b) { return (VectorF)_mm256_min_ps(a, b); }
NK_INLINE VectorD sqrt_exact(VectorD a) { return (VectorD)_mm256_sqrt_pd(a); }
NK_INLINE VectorF sqrt_exact(VectorF a) { return (VectorF)_mm256_sqrt_ps(a); }
#else
NK_INLINE VectorD splat(double x) { return VectorD{x, x}; }
NK_INLINE VectorF splat(float x) { return VectorF{x, x, x, x}; }
#if defined(__aarch64__)
NK_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return (VectorD)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
NK_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return (VectorF)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
NK_INLINE VectorD fnma(VectorD a, VectorD b, VectorD c) { return (VectorD)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
NK_INLINE VectorF fnma(VectorF a, VectorF b, VectorF c) { return (VectorF)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
NK_INLINE VectorD sqrt_exact(VectorD a) { return (VectorD)vsqrtq_f64((float64x2_t)a); }
NK_INLINE VectorF sqrt_exact(VectorF a) { return (VectorF)vsqrtq_f32((float32x4_t)a); }
#else
template <class V> NK_INLINE V fma(V a, V b, V c) { return a * b + c; }
template <class V> NK_INLINE V fnma(V a, V b, V c) { return c - a * b; }
#if defined(__SSE2__)
NK_INLINE VectorD sqrt_exact(VectorD a) { return (VectorD)_mm_sqrt_pd(a); }
NK_INLINE VectorF sqrt_exact(VectorF a) { return (VectorF)_mm_sqrt_ps(a); }
#else
NK_INLINE VectorD sqrt_exact(VectorD a) { return VectorD{__builtin_sqrt(a[0]), __builtin_sqrt(a[1])}; }
NK_INLINE VectorF sqrt_exact(VectorF a) {
    return VectorF{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
#endif
#endif
template <class V> NK_INLINE V max(V a, V b) { return a > b ? a : b; }
template <class V> NK_INLINE V min(V a, V b) { return a < b ? a : b; }
#endif

// table[index], lane by lane, of indices that are whole numbers.
#if defined(__AVX512F__)
NK_INLINE VectorD look_up(const double *table, VectorD index) {
    return (VectorD)_mm512_i32gather_pd(_mm512_cvttpd_epi32((__m512d)index), table, 8);
}
NK_INLINE VectorF look_up(const float *table, VectorF index) {
    return (VectorF)_mm512_i32gather_ps(_mm512_cvttps_epi32((__m512)index), table, 4);
}
#else
template <class V, class T> NK_INLINE V look_up(const T *table, V index) {
    V found;
    for (int i = 0; i < (int)(sizeof(V) / sizeof(T)); i++) found[i] = table[(int)index[i]];
    return found;
}
#endif

// Root of a positive normal number, to within about an ulp. With AVX-512, one step of fourth order from the
// 14-bit estimate of 1/sqrt(x) (second order in float): the units that multiply are free sooner than the
// divider.
#if defined(__AVX512F__)
NK_INLINE VectorD root(VectorD x) {
    VectorD y = (VectorD)_mm512_rsqrt14_pd(x);
    VectorD g = x * y;
    VectorD e = fnma(g, y, splat(1.0));
    VectorD series = fma(fma(splat(0.3125), e, splat(0.375)), e, splat(0.5));
    return fma(g * e, series, g);
}
NK_INLINE VectorF root(VectorF x) {
    VectorF y = (VectorF)_mm512_rsqrt14_ps(x);
    VectorF g = x * y;
    VectorF e = fnma(g, y, splat(1.0f));
    return fma(g * splat(0.5f), e, g);
}
#else
template <class V> NK_INLINE V root(V x) { return sqrt_exact(x); }
#endif

// The bits of registers: what is left of x without its sign, `size` with that of `sign`, `value` times two to the power
// that stands in the lowest bits of `power`.
template <class T> NK_INLINE typename Lanes<T>::V without_sign(typename Lanes<T>::V x) {
    using Mask = typename Lanes<T>::Mask;
    return (typename Lanes<T>::V)((Mask)x & ~(Mask)splat(T(-0.0)));
}
template <class T> NK_INLINE typename Lanes<T>::V signed_as(typename Lanes<T>::V sign, typename Lanes<T>::V size) {
    using Mask = typename Lanes<T>::Mask;
    return (typename Lanes<T>::V)((Mask)size | ((Mask)sign & (Mask)splat(T(-0.0))));
}
template <class T, int mantissa>
NK_INLINE typename Lanes<T>::V times_power(typename Lanes<T>::V value, typename Lanes<T>::V power) {
    using Mask = typename Lanes<T>::Mask;
    return (typename Lanes<T>::V)((Mask)value + ((Mask)power << mantissa));
}

}  // namespace
