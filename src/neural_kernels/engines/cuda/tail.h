// Layers on a single position: those after the last pooling, and all of a fully connected network.
#pragma once

#include "layers.h"

namespace {

enum Mode { NNGP, NTK, OWN };
enum End { AVERAGE, SUM_ALL_PAIRS, SUM_DIAGONAL, OUTPUT };

// The numbers of layer l as `layer_entries` reads them. They are parameters of the launch: the compiled code depends
// on an architecture's structure alone.
template <class T> struct Numbers { T scale, bias, epsilon, parameter[3]; };
template <int l> struct Step : Numbers<typename Layer<l>::T> {
    static constexpr int affine = Layer<l>::affine, normalised = Layer<l>::normalised;
};
struct AllNumbers { double raw[6 * LAYERS + 1]; };  // 48 bytes a layer; the last one scales the result
template <int l> NK_INLINE const Step<l> &step_of(const AllNumbers &all) { return *(const Step<l> *)(all.raw + 6 * l); }

template <class Values> struct OwnTables {
    Values values[3];
    NK_METHOD Values left(int table) const { return values[table]; }
    NK_METHOD Values right(int table) const { return values[table]; }
};

template <class T> NK_INLINE T *at_byte(const void *from, int64_t bytes) { return (T *)((char *)from + bytes); }

// What all functions of one block share.
struct Work {
    char *shared;   // of the block: a stage's inputs and tables, then rows on their way to pooling, then sums
    char *scratch;  // of the block: slots
    const AllNumbers &numbers;
};

// Layers from l on. Lanes are of the right examples that lie `shift` numbers behind `right`, all of one left one; for OWN
// of the examples themselves, of which those of `written` get their tables.
template <int l, int mode, bool past = (l >= LAYERS)> struct Tail {
    using L = Layer<l>;
    using T = typename L::T;
    struct Tables {
        const T *from_left, *from_right;
        Ints shift;
        NK_METHOD P<T, 1> left(int table) const { return P<T, 1>::each(take(from_left + L::table + table, ints(0))); }
        NK_METHOD P<T, 1> right(int table) const { return P<T, 1>::each(take(from_right + L::table + table, shift)); }
    };
    NK_INLINE void run(const AllNumbers &numbers, const char *left, const char *right, Ints shift, Truth written,
                       P<T, 1> &k, P<T, 1> &t) {
        const auto &step = step_of<l>(numbers);
        const T *own = (const T *)(left + TAIL_BYTES_BEFORE);
        if constexpr (mode == OWN) {
            Vec<T> values[3];
            tables_of<typename L::Act, T>(step, k.v[0], values);
            OwnTables<P<T, 1>> tables;
            for (int i = 0; i < L::tables; i++) {
                tables.values[i].v[0] = values[i];
                put((T *)own + L::table + i, shift, values[i], written);
            }
            layer_entries<typename L::Act, false, false>(step, tables, k, t);
        } else {
            layer_entries<typename L::Act, mode == NTK, false>(
                step, Tables{own, (const T *)(right + TAIL_BYTES_BEFORE), shift}, k, t);
        }
        Tail<l + 1, mode>::run(numbers, left, right, shift, written, k, t);
    }
};
template <int l, int mode> struct Tail<l, mode, true> {
    NK_INLINE void run(const AllNumbers &, const char *, const char *, Ints, Truth, P<Result, 1> &, P<Result, 1> &) {}
};

NK_INLINE Vec<Result> result_of(const AllNumbers &numbers, P<Result, 1> k, P<Result, 1> t) {
    return (TANGENT ? t : k).v[0] * splat(Result(numbers.raw[6 * LAYERS]));
}

}  // namespace
