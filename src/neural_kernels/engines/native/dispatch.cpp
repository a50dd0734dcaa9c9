// What this build holds and what this processor can run.
#include "plan.h"

#define NK_EXPORT extern "C" __attribute__((visibility("default")))

// Changes whenever a structure or a function's arguments do, so that an old build is not called by mistake.
NK_EXPORT int nk_interface() { return 4; }

// 0 baseline, 1 AVX2 with FMA, 2 AVX-512: the highest that this processor can run.
NK_EXPORT int nk_level() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
