// A libcuda without a card: memory is the process's, a module is the path of a library that the same kernel source was
// compiled to, and a launch calls it. Failures are asked for by `stub_fail`.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

constexpr int GUARD = 64;  // bytes behind shared memory that must stay as they are
using Kernel = void (*)(int blocks, char *shared, void **parameters);

struct Failure {
    int result, after;
};
struct Handle {
    Kernel kernel;
    int shared;
};

std::mutex mutex;
std::map<std::string, Failure> failures;
std::map<uint64_t, size_t> allocated;
std::map<int, int> launches;
int devices = 1;
size_t free_bytes = size_t(1) << 33;
thread_local intptr_t current = 0;

int failing(const char *function) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = failures.find(function);
    if (found == failures.end()) return 0;
    return found->second.after-- > 0 ? 0 : found->second.result;
}

}  // namespace

#define FAILS(function)                                \
    do {                                               \
        if (int result = failing(function)) return result; \
    } while (0)

extern "C" {

void stub_reset(int count, uint64_t free) {
    std::lock_guard<std::mutex> lock(mutex);
    failures.clear();
    launches.clear();
    devices = count;
    free_bytes = free;
}
// From its call number `after` on, `function` gives `result`.
void stub_fail(const char *function, int result, int after) {
    std::lock_guard<std::mutex> lock(mutex);
    failures[function] = {result, after};
}
int stub_allocations() { return (int)allocated.size(); }
int stub_launches(int device) { return launches[device]; }

int cuInit(unsigned) { FAILS("cuInit"); return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { FAILS("cuDeviceGetCount"); *count = devices; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return number < devices ? 0 : 101; }
int cuDeviceGetName(char *name, int size, int) { snprintf(name, size, "Stub"); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
    static const std::map<int, int> values{{16, 2}, {75, 9}, {76, 0}, {97, 232448}};
    *value = values.at(attribute);
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(intptr_t)(device + 1); return 0; }
int cuCtxSetCurrent(void *context) { current = (intptr_t)context; return 0; }
int cuCtxSynchronize() { FAILS("cuCtxSynchronize"); return current ? 0 : 201; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *free = *total = free_bytes; return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    if (!current) return 201;
    FAILS("cuMemAlloc_v2");
    void *memory = malloc(size);
    memset(memory, 0xff, size);  // NaNs, where something is read that was not written
    *address = (uint64_t)memory;
    std::lock_guard<std::mutex> lock(mutex);
    allocated[*address] = size;
    return 0;
}
int cuMemFree_v2(uint64_t address) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!allocated.erase(address)) return 1;
    free((void *)address);
    return 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
    if (!current || size > allocated.at(to)) return 1;
    memcpy((void *)to, from, size);
    return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    if (!current || size > allocated.at(from)) return 1;
    memcpy(to, (void *)from, size);
    return 0;
}
int cuModuleLoadData(void **module, const void *image) {
    FAILS("cuModuleLoadData");
    *module = dlopen((const char *)image, RTLD_NOW | RTLD_LOCAL);
    return *module ? 0 : 200;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    void *found = dlsym(module, name);
    if (!found) return 500;
    *function = new Handle{(Kernel)found, 0};
    return 0;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute != 8 || value > 232448) return 1;
    ((Handle *)function)->shared = value;
    return 0;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count, void *, int, size_t) { *count = 1; return 0; }
int cuLaunchKernel(void *function, unsigned x, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned shared,
                   void *, void **parameters, void **) {
    if (!current || threads % 32 || threads > 1024 || !x) return 1;
    if ((int)shared > ((Handle *)function)->shared) return 1;
    FAILS("cuLaunchKernel");
    {
        std::lock_guard<std::mutex> lock(mutex);
        launches[current - 1]++;
    }
    char *memory = (char *)aligned_alloc(64, (shared + GUARD + 63) / 64 * 64);
    memset(memory, 0xff, shared + GUARD);
    ((Handle *)function)->kernel(x, memory, parameters);
    int spoilt = 0;
    for (int i = 0; i < GUARD; i++) spoilt |= memory[shared + i] != (char)0xff;
    free(memory);
    return spoilt ? 700 : 0;
}
int cuGetErrorString(int error, const char **text) {
    *text = error == 2 ? "out of memory" : error == 999 ? "unknown error" : "the stub says no";
    return 0;
}
}
