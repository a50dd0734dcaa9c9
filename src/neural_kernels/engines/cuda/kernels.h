// The two functions that are launched: kernels between examples, and the tables of examples.
#pragma once

#if defined(NK_FEATURES)
#include "products.h"
#else
#include "positions.h"
#endif

#if defined(NK_GPU)

extern __shared__ __align__(16) char nk_shared[];

#if defined(NK_PAIRS)
extern "C" __global__ void __launch_bounds__(32 * WARPS)
nk_pairs(const char *left, const char *right, int n_left, int n_right, int from, Result *out, char *scratch,
         const __grid_constant__ AllNumbers numbers) {
    Work work{nk_shared, scratch + (int64_t)blockIdx.x * SCRATCH_BYTES, numbers};
    all_pairs(work, blockIdx.x, gridDim.x, left, right, n_left, n_right, from, out);
}
#else
extern "C" __global__ void __launch_bounds__(32 * WARPS)
nk_tables(char *examples, int n, char *scratch, const __grid_constant__ AllNumbers numbers) {
    Work work{nk_shared, scratch + (int64_t)blockIdx.x * SCRATCH_BYTES, numbers};
    all_tables(work, blockIdx.x, gridDim.x, examples, n);
}
#endif

#else

// As the driver launches them: a grid, the bytes of shared memory, pointers to the parameters.
template <class T> static T parameter(void **parameters, int i) { return *(T *)parameters[i]; }

#if defined(NK_PAIRS)
extern "C" __attribute__((visibility("default"))) void nk_pairs(int blocks, char *shared, void **p) {
    for (int block = 0; block < blocks; block++) {
        Work work{shared, parameter<char *>(p, 6) + block * SCRATCH_BYTES, *(const AllNumbers *)p[7]};
        all_pairs(work, block, blocks, parameter<const char *>(p, 0), parameter<const char *>(p, 1),
                  parameter<int>(p, 2), parameter<int>(p, 3), parameter<int>(p, 4), parameter<Result *>(p, 5));
    }
}
#else
extern "C" __attribute__((visibility("default"))) void nk_tables(int blocks, char *shared, void **p) {
    for (int block = 0; block < blocks; block++) {
        Work work{shared, parameter<char *>(p, 2) + block * SCRATCH_BYTES, *(const AllNumbers *)p[3]};
        all_tables(work, block, blocks, parameter<char *>(p, 0), parameter<int>(p, 1));
    }
}
#endif

#endif
