// What a warp's 32 lanes do, as values: on a GPU a value is one lane's scalar, on a processor, for tests, a vector of
// all 32. Shuffles, loads and choices are functions, so that the same source is compiled for both.
//
// The packs and formulas that are included afterwards are those of the native engine.
#pragma once

#if defined(__CUDACC_RTC__)

#define NK_GPU 1
#define NK_INLINE static __device__ __forceinline__
#define NK_METHOD __device__ __forceinline__
#define NK_UNROLLED _Pragma("unroll")
#define NK_ROLLED _Pragma("unroll 1")
// 64-bit immediates take two moves each, operands in constant memory none; the compiler would make immediates of const.
#define NK_CONSTANTS static __constant__
#define NAN __int_as_float(0x7fffffff)
#define INFINITY __int_as_float(0x7f800000)
typedef long long int64_t;
typedef int int32_t;

namespace {

template <class T> struct Lanes;
template <> struct Lanes<double> { using V = double; };
template <> struct Lanes<float> { using V = float; };
using Ints = int;
using Truth = bool;

NK_INLINE Ints lane_numbers() { return threadIdx.x & 31; }
NK_INLINE Ints ints(int x) { return x; }
NK_INLINE Truth truth(bool x) { return x; }
NK_INLINE Truth opposite(Truth x) { return !x; }
NK_INLINE double splat(double x) { return x; }
NK_INLINE float splat(float x) { return x; }
// --fmad=false: nothing fuses but this, so that a formula has the same bits wherever it is inlined.
NK_INLINE double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
NK_INLINE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
NK_INLINE double fnma(double a, double b, double c) { return __fma_rn(-a, b, c); }
NK_INLINE float fnma(float a, float b, float c) { return __fmaf_rn(-a, b, c); }
// Without the care for NaNs that the compiler's own takes, at twice as many instructions: of a NaN in a, b.
NK_INLINE double max(double a, double b) {
    asm("{ .reg .pred p; setp.gt.f64 p, %0, %1; selp.f64 %0, %0, %1, p; }" : "+d"(a) : "d"(b));
    return a;
}
NK_INLINE float max(float a, float b) {
    asm("{ .reg .pred p; setp.gt.f32 p, %0, %1; selp.f32 %0, %0, %1, p; }" : "+f"(a) : "f"(b));
    return a;
}
template <class V> NK_INLINE V min(V a, V b) { return a < b ? a : b; }
NK_INLINE double sqrt_exact(double x) { return __dsqrt_rn(x); }
NK_INLINE float sqrt_exact(float x) { return __fsqrt_rn(x); }
NK_INLINE double inverse_root(double x) {
    double y;
    asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
    return y;
}
NK_INLINE float inverse_root(float x) {
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
template <class T> NK_INLINE T without_sign(T x);
template <> NK_METHOD double without_sign<double>(double x) { return fabs(x); }
template <> NK_METHOD float without_sign<float>(float x) { return fabsf(x); }
template <class T> NK_INLINE T signed_as(T sign, T size);
template <> NK_METHOD double signed_as<double>(double sign, double size) {
    return __longlong_as_double(__double_as_longlong(size) | (__double_as_longlong(sign) & (1ll << 63)));
}
template <> NK_METHOD float signed_as<float>(float sign, float size) {
    return __int_as_float(__float_as_int(size) | (__float_as_int(sign) & (1 << 31)));
}
template <class T, int mantissa> NK_INLINE T times_power(T value, T power) {
    if constexpr (sizeof(T) == 8)
        return __longlong_as_double(__double_as_longlong(value) + (__double_as_longlong(power) << mantissa));
    else
        return __int_as_float(__float_as_int(value) + (__float_as_int(power) << mantissa));
}
template <class V> NK_INLINE V choose(Truth which, V yes, V no) { return which ? yes : no; }
template <class V> NK_INLINE V shuffle(V x, Ints from) { return __shfl_sync(0xffffffffu, x, from); }
template <class T> NK_INLINE T take(const T *from, Ints index) { return from[index]; }
template <class T> NK_INLINE void put(T *to, Ints index, T x, Truth where) {
    if (where) to[index] = x;
}
template <class To, class From> NK_INLINE To converted(From x) { return (To)x; }
NK_INLINE void sync_warp() { __syncwarp(); }
NK_INLINE void sync_block() { __syncthreads(); }
// Each warp of the block does `work(its number)`; none goes on before all have.
template <class Work> NK_INLINE void each_warp(int, const Work &work) {
    work((int)threadIdx.x >> 5);
    sync_block();
}

}  // namespace

#else

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define NK_INLINE static inline
#define NK_METHOD inline
#define NK_UNROLLED
#define NK_ROLLED
#define NK_CONSTANTS static constexpr

namespace {

template <class T> struct Lanes;
template <> struct Lanes<double> { typedef double V __attribute__((vector_size(256))); };
template <> struct Lanes<float> { typedef float V __attribute__((vector_size(128))); };
typedef int32_t Ints __attribute__((vector_size(128)));
using Truth = Ints;
using Doubles = Lanes<double>::V;
using Floats = Lanes<float>::V;

NK_INLINE Ints ints(int x) { return x - Ints{}; }
NK_INLINE Truth truth(bool x) { return ints(-(int)x); }
NK_INLINE Truth opposite(Truth x) { return ~x; }
NK_INLINE Ints lane_numbers() {
    Ints r;
    for (int i = 0; i < 32; i++) r[i] = i;
    return r;
}
NK_INLINE Doubles splat(double x) { return x - Doubles{}; }
NK_INLINE Floats splat(float x) { return x - Floats{}; }
template <class V, class F> static inline __attribute__((always_inline)) V by_lane(const F &of) {
    V r;
    for (int i = 0; i < 32; i++) r[i] = of(i);
    return r;
}
NK_INLINE Doubles fma(Doubles a, Doubles b, Doubles c) {
    return by_lane<Doubles>([&](int i) { return __builtin_fma(a[i], b[i], c[i]); });
}
NK_INLINE Floats fma(Floats a, Floats b, Floats c) {
    return by_lane<Floats>([&](int i) { return __builtin_fmaf(a[i], b[i], c[i]); });
}
template <class V> NK_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
template <class V> NK_INLINE V max(V a, V b) { return a > b ? a : b; }
template <class V> NK_INLINE V min(V a, V b) { return a < b ? a : b; }
NK_INLINE Doubles sqrt_exact(Doubles x) {
    return by_lane<Doubles>([&](int i) { return __builtin_sqrt(x[i]); });
}
NK_INLINE Floats sqrt_exact(Floats x) {
    return by_lane<Floats>([&](int i) { return __builtin_sqrtf(x[i]); });
}
// As little of it as a GPU gives: in double 20 bits, and from as much of x; a float lacks its last two bits.
NK_INLINE Doubles inverse_root(Doubles x) {
    return by_lane<Doubles>([&](int i) {
        int64_t bits;
        double value = x[i];
        memcpy(&bits, &value, 8);
        bits &= ~0xffffffffll;
        memcpy(&value, &bits, 8);
        value = 1 / __builtin_sqrt(value);
        memcpy(&bits, &value, 8);
        bits &= ~0xffffffffll;
        memcpy(&value, &bits, 8);
        return value;
    });
}
NK_INLINE Floats inverse_root(Floats x) {
    return by_lane<Floats>([&](int i) {
        float value = 1 / __builtin_sqrtf(x[i]);
        int32_t bits;
        memcpy(&bits, &value, 4);
        bits &= ~3;
        memcpy(&value, &bits, 4);
        return value;
    });
}
template <class T> NK_INLINE typename Lanes<T>::V without_sign(typename Lanes<T>::V x) {
    return by_lane<typename Lanes<T>::V>([&](int i) { return __builtin_fabs(x[i]); });
}
template <class T> NK_INLINE typename Lanes<T>::V signed_as(typename Lanes<T>::V sign, typename Lanes<T>::V size) {
    return by_lane<typename Lanes<T>::V>([&](int i) { return __builtin_copysign(size[i], sign[i]); });
}
template <class T, int mantissa>
NK_INLINE typename Lanes<T>::V times_power(typename Lanes<T>::V value, typename Lanes<T>::V power) {
    using Bits = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
    typedef Bits Mask __attribute__((vector_size(32 * sizeof(T))));
    return (typename Lanes<T>::V)((Mask)value + ((Mask)power << mantissa));
}
template <class V> NK_INLINE V choose(Truth which, V yes, V no) {
    return by_lane<V>([&](int i) { return which[i] ? yes[i] : no[i]; });
}
template <class V> NK_INLINE V shuffle(V x, Ints from) {
    return by_lane<V>([&](int i) { return x[from[i] & 31]; });
}
template <class T> NK_INLINE typename Lanes<T>::V take(const T *from, Ints index) {
    return by_lane<typename Lanes<T>::V>([&](int i) { return from[index[i]]; });
}
template <class T> NK_INLINE void put(T *to, Ints index, typename Lanes<T>::V x, Truth where) {
    for (int i = 0; i < 32; i++)
        if (where[i]) to[index[i]] = x[i];
}
template <class To, class From> NK_INLINE typename Lanes<To>::V converted(From x) {
    return by_lane<typename Lanes<To>::V>([&](int i) { return (To)x[i]; });
}
NK_INLINE void sync_warp() {}
NK_INLINE void sync_block() {}
template <class Work> NK_INLINE void each_warp(int warps, const Work &work) {
    for (int warp = 0; warp < warps; warp++) work(warp);
}

}  // namespace

#endif

namespace {

// Root of a positive normal number, to within about an ulp: a step of third order from some 20 bits of its inverse,
// of second order in float. The unit that multiplies is free long before one that divides.
template <class T> struct RootOf;
template <> struct RootOf<double> {
    template <class V> NK_INLINE V of(V x) {
        V y = inverse_root(x), g = x * y, e = fnma(g, y, splat(1.0));
        return fma(g * e, fma(splat(0.375), e, splat(0.5)), g);
    }
};
template <> struct RootOf<float> {
    template <class V> NK_INLINE V of(V x) {
        V y = inverse_root(x), g = x * y, e = fnma(g, y, splat(1.0f));
        return fma(g * splat(0.5f), e, g);
    }
};
NK_INLINE typename Lanes<double>::V root(typename Lanes<double>::V x) { return RootOf<double>::of(x); }
NK_INLINE typename Lanes<float>::V root(typename Lanes<float>::V x) { return RootOf<float>::of(x); }

}  // namespace
