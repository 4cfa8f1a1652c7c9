// Number formats, the hash behind seeded weights, and sums over warps and blocks in a fixed order.
#pragma once
#include <cuda_bf16.h>
#include <math_constants.h>

using bf16 = __nv_bfloat16;

// Eight bfloat16 values, the unit of 16-byte loads.
union Eight {
    uint4 bits;
    bf16 values[8];
};

__device__ inline float to_float(bf16 value) { return __bfloat162float(value); }
__device__ inline bf16 to_bf16(float value) { return __float2bfloat16_rn(value); }
__device__ inline float rounded(float value) { return to_float(to_bf16(value)); }

// The hash of seeded weights and of sampling, the same as WeightHash in Java: 64 well-mixed bits of (seed, index).
__device__ inline unsigned long long mix(unsigned long long seed, unsigned long long index) {
    unsigned long long z = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ inline float warp_sum(float value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
}

__device__ inline float warp_max(float value) {
    for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
    return value;
}

// The sum over all threads of a block, known to each of them.
__device__ inline float block_sum(float value, float* scratch) {
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < blockDim.x / 32; warp++) sum += scratch[warp];
    __syncthreads();
    return sum;
}
