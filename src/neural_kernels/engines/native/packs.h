// Registers side by side, over the operations of one register that are included before: lanes.h's of a processor, or
// those of a GPU's warp.
#pragma once

namespace {

// Several registers treated as one, so that independent chains of operations are in flight together.
template <class T, int N> struct Pack {
    using V = typename Lanes<T>::V;
    V v[N];
    NK_INLINE Pack each(V x) {
        Pack p;
        for (int i = 0; i < N; i++) p.v[i] = x;
        return p;
    }
};

#define NK_EACH(expression)                  \
    Pack<T, N> r;                            \
    for (int i = 0; i < N; i++) r.v[i] = (expression); \
    return r

template <class T, int N> using P = Pack<T, N>;
template <class T> using Vec = typename Lanes<T>::V;

#define NK_PACK template <class T, int N> NK_INLINE P<T, N>
NK_PACK operator+(P<T, N> a, P<T, N> b) { NK_EACH(a.v[i] + b.v[i]); }
NK_PACK operator-(P<T, N> a, P<T, N> b) { NK_EACH(a.v[i] - b.v[i]); }
NK_PACK operator*(P<T, N> a, P<T, N> b) { NK_EACH(a.v[i] * b.v[i]); }
NK_PACK operator/(P<T, N> a, P<T, N> b) { NK_EACH(a.v[i] / b.v[i]); }
NK_PACK operator+(P<T, N> a, T b) { NK_EACH(a.v[i] + splat(b)); }
NK_PACK operator-(P<T, N> a, T b) { NK_EACH(a.v[i] - splat(b)); }
NK_PACK operator-(T a, P<T, N> b) { NK_EACH(splat(a) - b.v[i]); }
NK_PACK operator*(P<T, N> a, T b) { NK_EACH(a.v[i] * splat(b)); }
NK_PACK fma(P<T, N> a, P<T, N> b, P<T, N> c) { NK_EACH(fma(a.v[i], b.v[i], c.v[i])); }
NK_PACK fma(P<T, N> a, T b, P<T, N> c) { NK_EACH(fma(a.v[i], splat(b), c.v[i])); }
NK_PACK fma(P<T, N> a, P<T, N> b, T c) { NK_EACH(fma(a.v[i], b.v[i], splat(c))); }
NK_PACK fma(P<T, N> a, T b, T c) { NK_EACH(fma(a.v[i], splat(b), splat(c))); }
NK_PACK fnma(P<T, N> a, P<T, N> b, P<T, N> c) { NK_EACH(fnma(a.v[i], b.v[i], c.v[i])); }
NK_PACK fnma(P<T, N> a, P<T, N> b, T c) { NK_EACH(fnma(a.v[i], b.v[i], splat(c))); }
NK_PACK max(P<T, N> a, T b) { NK_EACH(max(a.v[i], splat(b))); }
NK_PACK min(P<T, N> a, T b) { NK_EACH(min(a.v[i], splat(b))); }
NK_PACK root(P<T, N> a) { NK_EACH(root(a.v[i])); }
NK_PACK magnitude(P<T, N> a) { NK_EACH(without_sign<T>(a.v[i])); }
NK_PACK with_sign_of(P<T, N> sign, P<T, N> size) { NK_EACH(signed_as<T>(sign.v[i], size.v[i])); }
NK_PACK negative_or(P<T, N> sign, T below, T above) {
    NK_EACH(sign.v[i] < splat(T(0)) ? splat(below) : splat(above));
}
NK_PACK negative_or(P<T, N> sign, P<T, N> below, P<T, N> above) {
    NK_EACH(sign.v[i] < splat(T(0)) ? below.v[i] : above.v[i]);
}

}  // namespace
