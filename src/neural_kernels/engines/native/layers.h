// What a layer, the LayerNorm and the activation after it do to covariances that are summed over its filter.
//
// `step` has the fields of plan.h's Step. `tables` has an example's values of `tables_of`: left(table) and right(table).
#pragma once

#include "activations.h"

namespace {

// (K, T) of N registers before and after the layer. With `first` the tangent kernel is the layer's own.
template <class Act, bool tangent, bool first, class T, int N, class S, class Tables>
NK_INLINE void layer_entries(const S &step, const Tables &tables, P<T, N> &k, P<T, N> &t) {
    k = fma(k, T(step.scale), T(step.bias));
    if constexpr (tangent && !first)
        t = step.affine ? fma(t, T(step.scale), k) : t * T(step.scale);
    else
        t = k;
    if (step.normalised) {
        P<T, N> n = tables.left(Act::tables) * tables.right(Act::tables);
        k = k * n;
        if constexpr (tangent) t = t * n;
    }
    P<T, N> a, b, sum;
    if constexpr (Act::tables > 0) a = tables.left(0) * tables.right(0);
    if constexpr (Act::tables > 1) b = tables.left(1) * tables.right(1);
    if constexpr (Act::sums) sum = tables.left(1) + tables.right(1);
    Act::template apply<tangent>(step, a, b, sum, k, t);
}

// Own variances from sums over the filter, or NaN where one is not to be trusted: where it is too large for the
// formulas, and where it has lost its digits, or itself, to underflow. Below zero is the rounding of a sum that
// cancels.
template <class T, class S> NK_INLINE Vec<T> own_variance(const S &step, Vec<T> sum, T largest) {
    Vec<T> zero = splat(T(0)), lost = splat(T(NAN));
    Vec<T> v = fma(sum, splat(T(step.scale)), splat(T(step.bias)));
    Vec<T> nothing = sum <= zero ? zero : lost;
    Vec<T> small = T(step.bias) == 0 ? nothing : lost;
    v = v >= splat(Constants<T>::smallest) ? v : small;
    return v <= splat(largest) ? v : lost;
}

// What `layer_entries` needs of an example, from sums over the filter of its own covariance: table by table.
template <class Act, class T, class S> NK_INLINE void tables_of(const S &step, Vec<T> sum, Vec<T> *tables) {
    T largest = step.normalised ? Constants<T>::largest : Act::template largest<T>;
    Vec<T> variance = own_variance<T>(step, sum, largest), a{}, b{};
    if (step.normalised) {
        Vec<T> inverse = splat(T(1)) / sqrt_exact(variance + splat(T(step.epsilon)));
        tables[Act::tables] = inverse;
        variance = variance * (inverse * inverse);
    }
    Act::template make<T>(step, variance, a, b);
    if (Act::tables > 0) tables[0] = a;
    if (Act::tables > 1) tables[1] = b;
}

// What is stored for the variance of an example that is not zero, but whose square is: `own_variance` does not
// trust it, unless a bias makes it negligible.
template <class T> static constexpr T underflown = Constants<T>::smallest / 2;

}  // namespace
