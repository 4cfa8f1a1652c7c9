/*
 * Stands for an NCCL EP library of API version 1 in a test of the binding: it destroys a tensor without a look at its
 * size. It stands for the CUDA runtime and NCCL beneath as well, as far as a loader asks them.
 */
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    uint32_t size;
    uint32_t magic;
    char rest[40];
} tensor;

int cudaRuntimeGetVersion(int* version) {
    *version = 13000;
    return 0;
}

void cudaGraphLaunch(void) {
}

int ncclGetVersion(int* version) {
    *version = 23007;
    return 0;
}

void ncclCommWindowRegister(void) {
}

void ncclEpUpdateHandle(void) {
}

int ncclEpGetVersion(int* version) {
    *version = 100;
    return 0;
}

int ncclEpTensorAlloc(tensor** out, unsigned dimensions, int type, const size_t* extents, const void* config) {
    (void)dimensions;
    (void)type;
    (void)extents;
    (void)config;
    *out = calloc(1, sizeof(tensor));
    return *out == NULL ? 1 : 0;
}

int ncclEpTensorDestroy(tensor* destroyed) {
    free(destroyed);
    return 0;
}
