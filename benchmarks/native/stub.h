/* What the three benchmark libraries and the C loop share. */
#ifndef NCCL4J_BENCHMARK_STUB_H
#define NCCL4J_BENCHMARK_STUB_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, CUDA_INVALID_VALUE = 1, CUDA_OUT_OF_MEMORY = 2, NCCL_SYSTEM_ERROR = 2, NCCL_INVALID_ARGUMENT = 4 };

/* How every struct of NCCL EP begins. */
struct header {
    uint32_t size;
    uint32_t magic;
};

#define EP_MAGIC 0xC00FFFEEu
#define TENSOR_MAGIC 0xCAFECAFEu
#define ALLOCATED_TENSOR_MAGIC 0xBEEFBEEFu

/* Sizes below which the library refuses a struct. */
enum {
    GROUP_CONFIG_SIZE = 96,
    TENSOR_SIZE = 48,
    LAYOUT_INFO_SIZE = 40,
    DISPATCH_INPUTS_SIZE = 32,
    DISPATCH_OUTPUTS_SIZE = 40,
    DISPATCH_CONFIG_SIZE = 20,
    COMBINE_INPUTS_SIZE = 24,
    COMBINE_OUTPUTS_SIZE = 24,
    COMBINE_CONFIG_SIZE = 16,
    COMPLETE_CONFIG_SIZE = 8
};

/* An object that needs an address and nothing else. */
static inline int make_object(void** out, int failure) {
    *out = calloc(1, 64);
    return *out == NULL ? failure : SUCCESS;
}

#endif
