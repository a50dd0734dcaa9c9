// The functions that native_engine.py calls, compiled once an instruction set: NK_ISA is its name.
//
// Each returns 0, or 1 where memory ran out. Nothing here starts threads: the caller splits the work.
#include "graphs.h"
#include "variances.h"

#define NK_JOIN3(a, b, c) a##_##b##_##c
#define NK_NAME3(a, b, c) NK_JOIN3(a, b, c)
#define NK_NAME(function, type) NK_NAME3(nk_##function, type, NK_ISA)
#define NK_EXPORT extern "C" __attribute__((visibility("default")))

template <class T> static int prepare(const Plan *plan, T *data, int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; g++)
        if (own_tables<T>(*plan, (Vec<T> *)data + g * plan->scalars)) return 1;
    return 0;
}

template <class T>
static int chain_tile(const Plan *plan, int64_t tangent, const T *left, int64_t first, int64_t last, const T *right,
                      int64_t begin, int64_t end, int64_t n_right, int64_t triangle, T *out, int64_t out_stride) {
    constexpr int L = Lanes<T>::count;
    int64_t size = plan->scalars / L + 1;
    Arena<T> arena;
    T *lefts = (T *)arena.take((last - first) * size, false);
    Chain<T> chain(*plan, tangent, false, (int)plan->n_stages);
    SharedInput<T> shared(chain);
    if (arena.exhausted || chain.arena.exhausted) return 1;
    for (int64_t group = first / L; group * L < last; group++) {
        const T *source = left + group * plan->scalars * L;
        int64_t low = group * L > first ? group * L : first, high = (group + 1) * L < last ? (group + 1) * L : last;
        for (int64_t s = 0; s < plan->scalars; s++)
            for (int64_t i = low; i < high; i++) lefts[(i - first) * size * L + s] = source[s * L + i - group * L];
    }
    // A register of right examples is L times as large as a left one: it stays in cache, the left ones stream.
    for (int64_t g = begin; g < end; g++) {
        const Vec<T> *rights = (const Vec<T> *)right + g * plan->scalars;
        int64_t rows = triangle && (g + 1) * L < last ? (g + 1) * L : last, i = first;
        auto left_of = [&](int64_t row) { return lefts + (row - first) * size * L; };
        auto compute = [&](int64_t row) {
            pair<T>(chain, left_of(row), rights, out + row * out_stride + g * L, n_right - g * L);
        };
        for (; shared.possible && i + SHARED <= rows; i += SHARED) {
            const T *each[SHARED];
            for (int k = 0; k < SHARED; k++) each[k] = left_of(i + k);
            shared.compute(each, rights);
            for (int k = 0; k < SHARED; k++) {
                shared.use(k);
                compute(i + k);
            }
        }
        shared.use_none();
        for (; i < rows; i++) compute(i);
    }
    return 0;
}

#define NK_FUNCTIONS(T, type)                                                                                  \
    NK_EXPORT int NK_NAME(lanes, type)() { return Lanes<T>::count; }                                           \
    NK_EXPORT int NK_NAME(prepare, type)(const Plan *plan, T *data, int64_t begin, int64_t end) {              \
        return prepare<T>(plan, data, begin, end);                                                             \
    }                                                                                                          \
    NK_EXPORT int NK_NAME(letter_products, type)(const T *left, int64_t n_left, const T *right, int64_t n_right,   \
                                                 int64_t channels, T *gram) {                                  \
        letter_products<T>(left, n_left, right, n_right, channels, gram);                                      \
        return 0;                                                                                              \
    }                                                                                                          \
    NK_EXPORT int NK_NAME(chain, type)(const Plan *plan, int64_t tangent, const T *left, int64_t first,            \
                                       int64_t last, const T *right, int64_t begin, int64_t end,               \
                                       int64_t n_left, int64_t n_right, int64_t triangle, T *out,                  \
                                       int64_t out_stride) {                                                   \
        (void)n_left;                                                                                          \
        return chain_tile<T>(plan, tangent, left, first, last, right, begin, end, n_right, triangle, out,      \
                             out_stride);                                                                      \
    }                                                                                                          \
    NK_EXPORT int NK_NAME(dense, type)(const Plan *plan, int64_t tangent, const T *left, int64_t first,            \
                                       int64_t last, const T *right, int64_t begin, int64_t end,               \
                                       int64_t n_left, int64_t n_right, int64_t triangle, T *out,                  \
                                       int64_t out_stride) {                                                   \
        return dense_tile<T>(*plan, tangent, (const Vec<T> *)left, first, last, (const Vec<T> *)right, begin,  \
                             end, n_left, n_right, triangle, out, out_stride);                                 \
    }                                                                                                          \
    NK_EXPORT int NK_NAME(graph_tables, type)(const Plan *plan, const GraphPack *pack) {                            \
        return graph_tables<T>(*plan, *pack);                                                                  \
    }                                                                                                          \
    NK_EXPORT int NK_NAME(graphs, type)(const Plan *plan, int64_t tangent, const GraphPack *left,              \
                                        const GraphPack *rights, int64_t count, T *out, int64_t out_stride) {      \
        return graph_tile<T>(*plan, tangent, *left, rights, count, out, out_stride);                           \
    }

NK_FUNCTIONS(double, float64)
NK_FUNCTIONS(float, float32)
