// P V and P^T U for a panel P of a stored kernel and a handful of vectors, P read from memory once.
//
// General matrix products rearrange P before they multiply, which for ten vectors costs more than the
// product itself. Here a tile of P is used twice while it is in the second-level cache, vector lanes run
// along its rows, and as many vectors as there are registers are multiplied at a time.
//
// Compiled once an instruction set; all but the one entry point is static.

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define NK_BYTES 64
#define NK_ACCUMULATORS 24
#elif defined(__AVX2__)
#define NK_BYTES 32
#define NK_ACCUMULATORS 12
#else
#define NK_BYTES 16
#define NK_ACCUMULATORS 12
#endif

// Without it the compiler loads the vector anew for each row that it is multiplied with, and loads, not
// multiplications, set the pace.
#if defined(__AVX512F__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+x"(x))
#elif defined(__aarch64__)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x)
#endif

namespace {

constexpr int LANES = NK_BYTES / 8;
constexpr int MOST_VECTORS = 12;
constexpr int64_t TILE_ROWS = 16;
constexpr int64_t TILE_COLUMNS = 256;

typedef double Vector __attribute__((vector_size(NK_BYTES)));
typedef double Unaligned __attribute__((vector_size(NK_BYTES), aligned(8), may_alias));
typedef float UnalignedHalf __attribute__((vector_size(NK_BYTES / 2), aligned(4), may_alias));

inline Vector load(const double *p) { return *(const Unaligned *)p; }
inline Vector load(const float *p) { return __builtin_convertvector(*(const UnalignedHalf *)p, Vector); }
inline void store(double *p, Vector v) { *(Unaligned *)p = v; }

inline Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
    return (Vector)_mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (Vector)_mm256_fmadd_pd(a, b, c);
#else
    return a * b + c;
#endif
}

// Rows, or registers of columns, to take at a time so that the sums of all vectors stay in registers.
constexpr int share(int vectors) {
    return NK_ACCUMULATORS / vectors > 8 ? 8 : NK_ACCUMULATORS / vectors < 1 ? 1 : NK_ACCUMULATORS / vectors;
}

// sums[r][v] += P[r] * V[v], lane by lane, for R rows at a time; V comes transposed.
template <int K, int R, class T>
inline void rows_times(const T *p, int64_t stride, int64_t width, const double *vt, int64_t v_stride, double *sums) {
    Vector sum[R][K];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < K; v++) sum[r][v] = load(sums + (r * K + v) * LANES);
    int64_t c = 0;
    for (; c + LANES <= width; c += LANES) {
        Vector entry[R];
        for (int r = 0; r < R; r++) entry[r] = load(p + r * stride + c);
        for (int v = 0; v < K; v++) {
            Vector x = load(vt + v * v_stride + c);
            IN_REGISTER(x);
            for (int r = 0; r < R; r++) sum[r][v] = multiply_add(entry[r], x, sum[r][v]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < K; v++) {
            double *total = sums + (r * K + v) * LANES;
            store(total, sum[r][v]);
            for (int64_t rest = c; rest < width; rest++)
                total[0] += double(p[r * stride + rest]) * vt[v * v_stride + rest];
        }
}

// z[v][c] += sum_r P[r][c] U[r][v] for N registers of columns at a time; z is transposed.
template <int K, int N, class T>
inline void columns_times(const T *p, int64_t stride, int64_t height, const double *u, int64_t u_stride, double *zt,
                          int64_t z_stride, const T *next) {
    Vector sum[K][N];
    for (int v = 0; v < K; v++)
        for (int n = 0; n < N; n++) sum[v][n] = load(zt + v * z_stride + n * LANES);
    for (int64_t r = 0; r < height; r++) {
        Vector entry[N];
        for (int n = 0; n < N; n++) {
            entry[n] = load(p + r * stride + n * LANES);
            __builtin_prefetch(next + r * stride + n * LANES, 0, 2);
        }
        for (int v = 0; v < K; v++) {
            const Vector x = u[r * u_stride + v] - Vector{};
            for (int n = 0; n < N; n++) sum[v][n] = multiply_add(entry[n], x, sum[v][n]);
        }
    }
    for (int v = 0; v < K; v++)
        for (int n = 0; n < N; n++) store(zt + v * z_stride + n * LANES, sum[v][n]);
}

// `next` is the tile that is multiplied after this one: it is fetched meanwhile.
template <int K, class T>
void tile(const T *p, const T *next, int64_t stride, int64_t height, int64_t width, const double *vt,
          int64_t v_stride, const double *u, int64_t u_stride, double *sums, double *zt, int64_t z_stride) {
    constexpr int N = share(K);
    int64_t r = 0;
    for (; sums != nullptr && r + N <= height; r += N)
        rows_times<K, N>(p + r * stride, stride, width, vt, v_stride, sums + r * K * LANES);
    for (; sums != nullptr && r < height; r++)
        rows_times<K, 1>(p + r * stride, stride, width, vt, v_stride, sums + r * K * LANES);
    if (zt == nullptr) return;
    int64_t c = 0;
    for (; c + N * LANES <= width; c += N * LANES)
        columns_times<K, N>(p + c, stride, height, u, u_stride, zt + c, z_stride, next + c);
    for (; c + LANES <= width; c += LANES)
        columns_times<K, 1>(p + c, stride, height, u, u_stride, zt + c, z_stride, next + c);
    for (; c < width; c++)
        for (int v = 0; v < K; v++) {
            double total = 0;
            for (int64_t row = 0; row < height; row++) total += double(p[row * stride + c]) * u[row * u_stride + v];
            zt[v * z_stride + c] += total;
        }
}

template <class T>
void product(const T *p, int64_t stride, int64_t height, int64_t width, int64_t vectors, const double *vt,
             int64_t v_stride, const double *u, int64_t u_stride, double *y, double *zt) {
    using Tile = void (*)(const T *, const T *, int64_t, int64_t, int64_t, const double *, int64_t, const double *,
                          int64_t, double *, double *, int64_t);
    static const Tile tiles[MOST_VECTORS] = {tile<1, T>, tile<2, T>, tile<3, T>, tile<4, T>,  tile<5, T>,  tile<6, T>,
                                             tile<7, T>, tile<8, T>, tile<9, T>, tile<10, T>, tile<11, T>, tile<12, T>};
    alignas(NK_BYTES) double sums[TILE_ROWS * MOST_VECTORS * LANES];
    const int64_t groups = (vectors + MOST_VECTORS - 1) / MOST_VECTORS;
    for (int64_t r = 0; r < height; r += TILE_ROWS) {
        const int64_t rows = height - r < TILE_ROWS ? height - r : TILE_ROWS;
        for (int64_t g = 0; g < groups; g++) {
            // Groups of nearly equal size: one of two vectors after one of twelve would be slow.
            const int64_t v = g * vectors / groups, count = (g + 1) * vectors / groups - v;
            for (int64_t k = 0; k < rows * count * LANES; k++) sums[k] = 0;
            for (int64_t c = 0; c < width; c += TILE_COLUMNS) {
                const int64_t columns = width - c < TILE_COLUMNS ? width - c : TILE_COLUMNS;
                const T *here = p + r * stride + c;
                const T *next = c + columns < width ? here + columns : r + rows < height ? p + (r + rows) * stride : here;
                tiles[count - 1](here, next, stride, rows, columns, vt == nullptr ? nullptr : vt + v * v_stride + c,
                                 v_stride, u == nullptr ? nullptr : u + r * u_stride + v, u_stride,
                                 vt == nullptr ? nullptr : sums,
                                 zt == nullptr ? nullptr : zt + v * width + c, width);
            }
            for (int64_t row = 0; vt != nullptr && row < rows; row++)
                for (int64_t k = 0; k < count; k++)
                    for (int lane = 0; lane < LANES; lane++)
                        y[(r + row) * vectors + v + k] += sums[(row * count + k) * LANES + lane];
        }
    }
}

}  // namespace

#define NK_JOIN2(a, b) a##_##b
#define NK_JOIN(a, b) NK_JOIN2(a, b)

// y (height, vectors) += P V where vt is given, and zt (vectors, width) += (P^T U)^T where zt is.
// P (height, width) has rows of `stride` entries, doubles or (single != 0) floats; vt is V transposed.
extern "C" void NK_JOIN(panel_product, NK_ISA)(const void *p, int32_t single, int64_t stride, int64_t height,
                                               int64_t width, int64_t vectors, const double *vt, int64_t v_stride,
                                               const double *u, int64_t u_stride, double *y, double *zt) {
    if (single)
        product((const float *)p, stride, height, width, vectors, vt, v_stride, u, u_stride, y, zt);
    else
        product((const double *)p, stride, height, width, vectors, vt, v_stride, u, u_stride, y, zt);
}
