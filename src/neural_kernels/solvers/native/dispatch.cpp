// The one entry point: the build of panel_product for the newest instruction set of this processor.

#include <cstdint>

#define NK_ARGUMENTS                                                                                            \
    const void *p, int32_t single, int64_t stride, int64_t height, int64_t width, int64_t vectors,              \
        const double *vt, int64_t v_stride, const double *u, int64_t u_stride, double *y, double *zt
#define NK_PASSED p, single, stride, height, width, vectors, vt, v_stride, u, u_stride, y, zt
#define NK_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" void panel_product_baseline(NK_ARGUMENTS);
#if defined(__x86_64__)
extern "C" void panel_product_avx2(NK_ARGUMENTS);
extern "C" void panel_product_avx512(NK_ARGUMENTS);
#endif

// Changes whenever the arguments do, so that an old build is not called by mistake.
NK_EXPORT int panel_product_interface() { return 1; }

NK_EXPORT void panel_product(NK_ARGUMENTS) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return panel_product_avx512(NK_PASSED);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return panel_product_avx2(NK_PASSED);
#endif
    panel_product_baseline(NK_PASSED);
}
