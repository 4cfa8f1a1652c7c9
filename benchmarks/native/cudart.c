/* A CUDA runtime with one device whose memory is the host's; copies are done at once, everything else returns. */
#include <string.h>

#include "stub.h"

EXPORT int cudaRuntimeGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}

EXPORT int cudaDriverGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}

EXPORT int cudaGetDeviceCount(int* count) {
    *count = 1;
    return SUCCESS;
}

EXPORT int cudaGetDevice(int* device) {
    *device = 0;
    return SUCCESS;
}

EXPORT int cudaSetDevice(int device) {
    return device == 0 ? SUCCESS : CUDA_INVALID_VALUE;
}

EXPORT int cudaDeviceSynchronize(void) {
    return SUCCESS;
}

EXPORT int cudaDeviceGetAttribute(int* value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 16: /* multiprocessors */
        *value = 132;
        break;
    case 75: /* compute capability, major */
        *value = 9;
        break;
    default:
        *value = 0;
    }
    return SUCCESS;
}

EXPORT int cudaGetLastError(void) {
    return SUCCESS;
}

EXPORT int cudaPeekAtLastError(void) {
    return SUCCESS;
}

EXPORT const char* cudaGetErrorName(int error) {
    return error == SUCCESS ? "cudaSuccess" : "cudaError";
}

EXPORT const char* cudaGetErrorString(int error) {
    return error == SUCCESS ? "no error" : "an error";
}

static int allocate(void** memory, size_t size) {
    *memory = aligned_alloc(256, (size + 255) / 256 * 256);
    return *memory == NULL ? CUDA_OUT_OF_MEMORY : SUCCESS;
}

static int release(void* memory) {
    free(memory);
    return SUCCESS;
}

EXPORT int cudaMalloc(void** memory, size_t size) {
    return allocate(memory, size);
}

EXPORT int cudaFree(void* memory) {
    return release(memory);
}

EXPORT int cudaMallocHost(void** memory, size_t size) {
    return allocate(memory, size);
}

EXPORT int cudaHostAlloc(void** memory, size_t size, unsigned flags) {
    (void)flags;
    return allocate(memory, size);
}

EXPORT int cudaFreeHost(void* memory) {
    return release(memory);
}

EXPORT int cudaMemGetInfo(size_t* available, size_t* total) {
    *available = *total = (size_t)1 << 37;
    return SUCCESS;
}

EXPORT int cudaMemcpy(void* to, const void* from, size_t size, int kind) {
    (void)kind;
    memcpy(to, from, size);
    return SUCCESS;
}

EXPORT int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
    (void)stream;
    return cudaMemcpy(to, from, size, kind);
}

EXPORT int cudaMemset(void* memory, int value, size_t size) {
    memset(memory, value, size);
    return SUCCESS;
}

EXPORT int cudaMemsetAsync(void* memory, int value, size_t size, void* stream) {
    (void)stream;
    return cudaMemset(memory, value, size);
}

EXPORT int cudaStreamCreateWithPriority(void** stream, unsigned flags, int priority) {
    (void)flags, (void)priority;
    return make_object(stream, CUDA_OUT_OF_MEMORY);
}

EXPORT int cudaStreamCreateWithFlags(void** stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

EXPORT int cudaStreamDestroy(void* stream) {
    return release(stream);
}

EXPORT int cudaStreamSynchronize(void* stream) {
    (void)stream;
    return SUCCESS;
}

EXPORT int cudaStreamQuery(void* stream) {
    (void)stream;
    return SUCCESS;
}

EXPORT int cudaStreamIsCapturing(void* stream, int* status) {
    (void)stream;
    *status = 0;
    return SUCCESS;
}

EXPORT int cudaStreamBeginCapture(void* stream, int mode) {
    (void)stream, (void)mode;
    return SUCCESS;
}

EXPORT int cudaStreamEndCapture(void* stream, void** graph) {
    (void)stream;
    return make_object(graph, CUDA_OUT_OF_MEMORY);
}

EXPORT int cudaGraphInstantiate(void** exec, void* graph, unsigned long long flags) {
    (void)graph, (void)flags;
    return make_object(exec, CUDA_OUT_OF_MEMORY);
}

EXPORT int cudaGraphLaunch(void* exec, void* stream) {
    return exec == NULL || stream == NULL ? CUDA_INVALID_VALUE : SUCCESS;
}

EXPORT int cudaGraphDestroy(void* graph) {
    return release(graph);
}

EXPORT int cudaGraphExecDestroy(void* exec) {
    return release(exec);
}
