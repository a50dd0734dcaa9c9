// Closed forms of the dual activations, on registers of covariances.
//
// `apply` maps (K, T) before the activation to (K, T) after it. `a` and `b` are the products, over the two
// examples, of two values that `tables` makes of an example's own variance v, so that nothing is divided here;
// `sum` is the sum of the second ones where an activation has `sums`.
// Where an activation leaves out a constant factor, plan.py puts it into the next layer's scale.
//
// `largest` is the largest variance with which nothing here overflows; a larger one becomes NaN, and so does
// every entry of its example. No step on the way to an entry makes a number of a NaN again.
//
// `step` is whatever has the fields of plan.h's Step that a formula reads. The engine for GPUs includes this file, too.
#pragma once

#include "packs.h"
#include "polynomials.h"

namespace {

template <class T> struct Constants;
template <> struct Constants<double> {
    static constexpr double ulp = 2.220446049250313e-16, tiny = 1e-40;
    static constexpr double smallest = 0x1p-1022, largest = 0x1p1020, largest_squared = 0x1p508;
    NK_INLINE const double *acos() { return acos_double; }
    NK_INLINE const double *asin() { return asin_double; }
    NK_INLINE const double *exp() { return exp_double; }
    static constexpr int acos_degree = 10, asin_degree = 11, exp_degree = 11;
    static constexpr double round = 6755399441055744.0, exp_limit = 708.0;
    static constexpr double ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
    static constexpr int mantissa = 52;
};
template <> struct Constants<float> {
    static constexpr float ulp = 1.1920929e-7f, tiny = 1e-20f;
    static constexpr float smallest = 0x1p-126f, largest = 0x1p124f, largest_squared = 0x1p60f;
    NK_INLINE const float *acos() { return acos_float; }
    NK_INLINE const float *asin() { return asin_float; }
    NK_INLINE const float *exp() { return exp_float; }
    static constexpr int acos_degree = 4, asin_degree = 5, exp_degree = 6;
    static constexpr float round = 12582912.0f, exp_limit = 87.0f;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr int mantissa = 23;
};

static constexpr double pi = 3.14159265358979323846;

// Even and odd powers apart: half the latency of Horner's rule for one more product.
template <int degree, class T, int N> NK_INLINE P<T, N> polynomial(const T *c, P<T, N> x) {
    P<T, N> square = x * x, high = P<T, N>::each(splat(c[degree])), low = P<T, N>::each(splat(c[degree - 1]));
    NK_UNROLLED
    for (int k = degree - 2; k >= 0; k -= 2) {
        high = fma(high, square, c[k]);
        if (k > 0) low = fma(low, square, c[k - 1]);
    }
    if constexpr (degree % 2) return fma(high, x, low);
    return fma(low, x, high);
}

// acos(c) of c in [0, 1] from s = sqrt(1 - c) and q = sqrt(1 + c).
template <class T, int N> NK_INLINE P<T, N> acos_from_roots(P<T, N> s, P<T, N> q) {
    return s * polynomial<Constants<T>::acos_degree>(Constants<T>::acos(), q - T(acos_centre));
}

// start + asin(z), start 0 or pi/2, with small relative error for every |z| <= 1 as far as z itself has one; size
// is |z|, s and q are sqrt(1 -+ |z|).
template <class T, int N>
NK_INLINE P<T, N> angle_from_roots(T start, P<T, N> z, P<T, N> size, P<T, N> s, P<T, N> q) {
    P<T, N> square = z * z;
    P<T, N> small = fma(z * square, polynomial<Constants<T>::asin_degree>(Constants<T>::asin(), square), z) + start;
    P<T, N> rest = acos_from_roots(s, q);
    P<T, N> large = negative_or(z, rest + (start - T(pi / 2)), (start + T(pi / 2)) - rest);
    return negative_or(size - T(0.5), small, large);
}

// Of (1 + m1)(1 + m2) - y^2, with b = m1 m2 and sum = m1 + m2, its root, and sqrt(1 -+ |z|) of z = y a, where a
// is 1 / sqrt((1 + m1)(1 + m2)). 1 - |z| of a z that is rounded would be wrong by the rounding of 1, however small
// it is; b - y^2 is exactly zero where both examples are the same, or opposite.
template <class T, int N> struct Roots {
    P<T, N> z, size, root, inverse, s, q;
    NK_INLINE Roots of(P<T, N> y, P<T, N> a, P<T, N> b, P<T, N> sum) {
        Roots r;
        r.z = y * a;
        r.size = magnitude(r.z);
        P<T, N> determinant = max(b - y * y, T(0)) + (sum + T(1));
        r.root = ::root(determinant);
        r.q = ::root(r.size + T(1));
        P<T, N> both = P<T, N>::each(splat(T(1))) / (r.root * r.q);
        r.inverse = both * r.q;
        r.s = a * determinant * both;
        return r;
    }
};

template <class T, int N> NK_INLINE P<T, N> exponential(P<T, N> x) {
    using C = Constants<T>;
    P<T, N> given = x;
    x = max(min(x, T(C::exp_limit)), T(-C::exp_limit));
    P<T, N> shifted = fma(x, T(1.4426950408889634), T(C::round));
    P<T, N> whole = shifted - T(C::round);
    P<T, N> rest = fma(whole, T(-C::ln2_low), fma(whole, T(-C::ln2_high), x));
    P<T, N> value = polynomial<C::exp_degree>(C::exp(), rest);
    for (int i = 0; i < N; i++) value.v[i] = times_power<T, C::mantissa>(value.v[i], shifted.v[i]);
    for (int i = 0; i < N; i++)  // infinite, not too small, past the limit
        value.v[i] = given.v[i] <= splat(T(C::exp_limit)) ? value.v[i] : given.v[i] * splat(T(INFINITY));
    return value;
}

struct Identity {
    static constexpr int tables = 0;
    static constexpr bool sums = false;
    template <class T> static constexpr T largest = Constants<T>::largest;
    template <class T, class S> NK_INLINE void make(const S &, Vec<T>, Vec<T> &, Vec<T> &) {}
    template <bool tangent, class T, int N, class S>
    NK_INLINE void apply(const S &, P<T, N>, P<T, N>, P<T, N>, P<T, N> &, P<T, N> &) {}
};

// Rectifiers max(x, 0) + alpha min(x, 0), times 2 pi / (1 - alpha)^2: with theta = acos(c),
//     T <- T (B - theta),    K <- p sin(theta) + K (B - theta),    B = parameter[0] (pi for ReLU).
// a is 1/p, b is p. c within rounding of 1 is taken as 1: identical examples give theta = 0 exactly.
template <bool positive> struct Rectifier {
    static constexpr int tables = 2;
    static constexpr bool sums = false;
    template <class T> static constexpr T largest = Constants<T>::largest;
    template <class T, class S> NK_INLINE void make(const S &, Vec<T> v, Vec<T> &a, Vec<T> &b) {
        Vec<T> zero = splat(T(0));
        b = sqrt_exact(v);
        a = v == zero ? zero : splat(T(1)) / b;
    }
    template <bool tangent, class T, int N, class S>
    NK_INLINE void apply(const S &step, P<T, N> a, P<T, N> b, P<T, N>, P<T, N> &k, P<T, N> &t) {
        using C = Constants<T>;
        P<T, N> size = positive ? k : magnitude(k);
        P<T, N> s = root(max(fnma(size, a, T(1 - 3 * C::ulp)), T(C::tiny)));
        P<T, N> q = root(fma(size, a, T(1)));
        P<T, N> ratio = polynomial<C::acos_degree>(C::acos(), q - T(acos_centre));
        P<T, N> factor;
        if constexpr (positive)
            factor = fnma(s, ratio, T(step.parameter[0]));
        else  // acos(-c) = pi - acos(c)
            factor = fnma(with_sign_of(k, s), ratio, T(step.parameter[0]) - negative_or(k, T(pi), T(0)));
        k = fma(b * s, q, factor * k);
        if constexpr (tangent) t = t * factor;
    }
};

// scale erf(slope x) + shift: parameter = {2 slope^2, 2 scale^2 / pi, 0 or, with shift, pi / 2}.
//     K <- parameter[1] (parameter[2] + asin(z)),    T <- parameter[0] parameter[1] T / sqrt(det),
// m = parameter[0] v, y = parameter[0] K, det = (1 + m1)(1 + m2) - y^2, z = y a; a is the product of the
// 1 / sqrt(1 + m), b that of the m.
struct ErrorFunction {
    static constexpr int tables = 2;
    static constexpr bool sums = true;
    template <class T> static constexpr T largest = Constants<T>::largest_squared;
    template <class T, class S> NK_INLINE void make(const S &step, Vec<T> v, Vec<T> &a, Vec<T> &b) {
        b = v * splat(T(step.parameter[0]));
        a = splat(T(1)) / sqrt_exact(b + splat(T(1)));
    }
    template <bool tangent, class T, int N, class S>
    NK_INLINE void apply(const S &step, P<T, N> a, P<T, N> b, P<T, N> sum, P<T, N> &k, P<T, N> &t) {
        auto r = Roots<T, N>::of(k * T(step.parameter[0]), a, b, sum);
        if constexpr (tangent) t = t * r.inverse * T(step.parameter[0] * step.parameter[1]);
        k = angle_from_roots(T(step.parameter[2]), r.z, r.size, r.s, r.q) * T(step.parameter[1]);
    }
};

// x Phi(x), times 2 pi: with det = (1 + v1)(1 + v2) - K^2, z = K a, a the product of the 1 / sqrt(1 + v), b of the v,
//     K <- z^2 / sqrt(det) + b a^2 sqrt(det) + K (pi/2 + asin z),
//     T <- T [(1/det + a^2 (2 + v1 + v2)) K / sqrt(det) + pi/2 + asin z].
struct GaussianGate {
    static constexpr int tables = 2;
    static constexpr bool sums = true;
    template <class T> static constexpr T largest = Constants<T>::largest_squared;
    template <class T, class S> NK_INLINE void make(const S &, Vec<T> v, Vec<T> &a, Vec<T> &b) {
        a = splat(T(1)) / sqrt_exact(v + splat(T(1)));
        b = v;
    }
    template <bool tangent, class T, int N, class S>
    NK_INLINE void apply(const S &, P<T, N> a, P<T, N> b, P<T, N> sum, P<T, N> &k, P<T, N> &t) {
        auto r = Roots<T, N>::of(k, a, b, sum);
        P<T, N> angle = angle_from_roots(T(pi / 2), r.z, r.size, r.s, r.q), square = a * a;
        if constexpr (tangent) {
            P<T, N> bracket = fma(sum + T(2), square, r.inverse * r.inverse);
            t = t * fma(bracket * k, r.inverse, angle);
        }
        k = fma(r.z * r.z, r.inverse, fma(b * square, r.root, k * angle));
    }
};

// ExpNormalized: parameter = {gamma, gamma shift}; e = exp(gamma (c + shift)), K <- p e, T <- gamma T e.
// a is 1/p, b is p; c is zero where p is.
struct Exponential {
    static constexpr int tables = 2;
    static constexpr bool sums = false;
    template <class T> static constexpr T largest = Constants<T>::largest;
    template <class T, class S> NK_INLINE void make(const S &step, Vec<T> v, Vec<T> &a, Vec<T> &b) {
        Rectifier<true>::make<T>(step, v, a, b);
    }
    template <bool tangent, class T, int N, class S>
    NK_INLINE void apply(const S &step, P<T, N> a, P<T, N> b, P<T, N>, P<T, N> &k, P<T, N> &t) {
        P<T, N> e = exponential(fma(k * a, T(step.parameter[0]), T(step.parameter[1])));
        k = b * e;
        if constexpr (tangent) t = t * (e * T(step.parameter[0]));
    }
};

// All of them, in the order of Formula in plan.py: an activation's code is its place here.
#define NK_ACTIVATIONS(X)              \
    X(IDENTITY, Identity)              \
    X(RELU_POSITIVE, Rectifier<true>)  \
    X(RELU, Rectifier<false>)          \
    X(ERF, ErrorFunction)              \
    X(GELU, GaussianGate)              \
    X(EXPONENTIAL, Exponential)

#define NK_CODE(code, Act) code,
enum ActivationCode { NK_ACTIVATIONS(NK_CODE) };
#undef NK_CODE

template <int code> struct ActivationOf;
#define NK_FORMULA(code, Act) \
    template <> struct ActivationOf<code> { using Formula = Act; };
NK_ACTIVATIONS(NK_FORMULA)
#undef NK_FORMULA

}  // namespace
