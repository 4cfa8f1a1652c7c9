// The kernels of a Qwen3-MoE decode step. Launch shapes and arguments are those of ModelKernels in Java; a row whose
// slot is negative holds no token. No result of a row depends on other rows, on their number, or on the number of
// ranks.
#include "attention.cuh"

using Dense = Shape<8, 2>;
using Experts = Shape<4, 2>;

// out[i] = offset + scale * u, u in [-1, 1) by hash: the same as SeededWeights in Java.
extern "C" __global__ void seed_weights(bf16* out, long count, long seed, float scale, float offset) {
    const long stride = (long)gridDim.x * blockDim.x;
    for (long i = (long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float u = (float)(mix(seed, i) >> 40) * (1.0f / 8388608.0f) - 1.0f;
        out[i] = to_bf16(__fadd_rn(offset, __fmul_rn(scale, u)));
    }
}

extern "C" __global__ void embed(int rows, const int* tokens, const int* slots, const bf16* table, int hidden,
                                 bf16* x) {
    const long row = blockIdx.x;
    const bool used = slots[row] >= 0;
    const uint4* source = reinterpret_cast<const uint4*>(table + (used ? (long)tokens[row] : 0) * hidden);
    uint4* target = reinterpret_cast<uint4*>(x + row * hidden);
    for (int i = threadIdx.x; i < hidden / 8; i += blockDim.x) target[i] = used ? source[i] : make_uint4(0, 0, 0, 0);
}

// x += delta, unless delta is null; out = norm of x times weight.
extern "C" __global__ void __launch_bounds__(256)
    add_norm(int rows, bf16* x, const bf16* delta, const bf16* weight, float epsilon, int hidden, bf16* out) {
    __shared__ float scratch[32];
    const long begin = (long)blockIdx.x * hidden;
    float squares = 0.0f;
    for (int i = threadIdx.x * 8; i < hidden; i += blockDim.x * 8) {
        Eight values, more;
        values.bits = *reinterpret_cast<const uint4*>(x + begin + i);
        if (delta != nullptr) {
            more.bits = *reinterpret_cast<const uint4*>(delta + begin + i);
            for (int j = 0; j < 8; j++)
                values.values[j] = to_bf16(to_float(values.values[j]) + to_float(more.values[j]));
            *reinterpret_cast<uint4*>(x + begin + i) = values.bits;
        }
        for (int j = 0; j < 8; j++) squares += to_float(values.values[j]) * to_float(values.values[j]);
    }
    const float inverse = rsqrtf(block_sum(squares, scratch) / hidden + epsilon);
    for (int i = threadIdx.x * 8; i < hidden; i += blockDim.x * 8) {
        Eight values, scale;
        values.bits = *reinterpret_cast<const uint4*>(x + begin + i);
        scale.bits = *reinterpret_cast<const uint4*>(weight + i);
        for (int j = 0; j < 8; j++)
            values.values[j] = to_bf16(rounded(to_float(values.values[j]) * inverse) * to_float(scale.values[j]));
        *reinterpret_cast<uint4*>(out + begin + i) = values.bits;
    }
}

template <typename T>
__device__ inline void store_dense(T* out, long at, float value);
template <>
__device__ inline void store_dense(bf16* out, long at, float value) { out[at] = to_bf16(value); }
template <>
__device__ inline void store_dense(float* out, long at, float value) { out[at] = value; }

template <typename T>
__device__ inline void dense(int rows, const bf16* in, const bf16* weight, int columns, int k, T* out) {
    const int column = blockIdx.x * TILE;
    const bf16* const weights[1] = {weight + (long)column * k};
    multiply_all<Dense, 1, 8>(in, rows, weights, k, [=](int row, int offset, const float(&sums)[1]) {
        store_dense(out, (long)row * columns + column + offset, sums[0]);
    });
}

// out[rows, columns] = in[rows, k] times weight[columns, k] transposed.
extern "C" __global__ void __launch_bounds__(Dense::WARPS * 32, 2)
    dense_bf16(int rows, const bf16* in, const bf16* weight, int columns, int k, bf16* out) {
    dense(rows, in, weight, columns, k, out);
}

extern "C" __global__ void __launch_bounds__(Dense::WARPS * 32, 2)
    dense_f32(int rows, const bf16* in, const bf16* weight, int columns, int k, float* out) {
    dense(rows, in, weight, columns, k, out);
}

// Softmax over the experts' logits, the best of them, equal ones by number; a warp per row.
extern "C" __global__ void route(int rows, const float* logits, const int* slots, int experts, int top_k,
                                 int renormalise, long* routing, float* weights) {
    constexpr int MOST = 16; // experts per lane
    const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    if (slots[row] < 0) {
        if (lane < top_k) {
            routing[(long)row * top_k + lane] = -1;
            weights[(long)row * top_k + lane] = 0.0f;
        }
        return;
    }
    float values[MOST];
    float greatest = -CUDART_INF_F;
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        const int expert = lane + i * 32;
        values[i] = expert < experts ? logits[(long)row * experts + expert] : -CUDART_INF_F;
        greatest = fmaxf(greatest, values[i]);
    }
    greatest = warp_max(greatest);
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        values[i] = expf(values[i] - greatest);
        total += values[i];
    }
    total = warp_sum(total);
    float chosen_sum = 0.0f, mine = 0.0f;
    int chosen_expert = -1;
    for (int k = 0; k < top_k; k++) {
        float best = -1.0f;
        int best_expert = 0;
#pragma unroll
        for (int i = 0; i < MOST; i++)
            if (values[i] > best) {
                best = values[i];
                best_expert = lane + i * 32;
            }
        for (int offset = 16; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, best, offset);
            const int other_expert = __shfl_xor_sync(0xffffffffu, best_expert, offset);
            if (other > best || (other == best && other_expert < best_expert)) {
                best = other;
                best_expert = other_expert;
            }
        }
#pragma unroll
        for (int i = 0; i < MOST; i++)
            if (lane + i * 32 == best_expert) values[i] = -2.0f;
        const float probability = best / total;
        chosen_sum += probability;
        if (lane == k) {
            mine = probability;
            chosen_expert = best_expert;
        }
    }
    if (lane < top_k) {
        routing[(long)row * top_k + lane] = chosen_expert;
        weights[(long)row * top_k + lane] = renormalise ? mine / chosen_sum : mine;
    }
}

// SwiGLU of the rows in use of each local expert's zone; an expert without rows costs its blocks one load.
extern "C" __global__ void __launch_bounds__(Experts::WARPS * 32, 4)
    expert_gate_up(const int* counts, const bf16* received, int capacity, const bf16* gate, const bf16* up, int inner,
                   int hidden, bf16* activated) {
    const long expert = blockIdx.y;
    const int count = min(counts[expert], capacity);
    if (count <= 0) return;
    const int column = blockIdx.x * TILE;
    const long begin = (expert * inner + column) * hidden;
    const bf16* const weights[2] = {gate + begin, up + begin};
    bf16* out = activated + expert * capacity * inner + column;
    multiply_all<Experts, 2, 4>(received + expert * capacity * hidden, count, weights, hidden,
                       [=](int row, int offset, const float(&sums)[2]) {
                           out[(long)row * inner + offset] = to_bf16(sums[0] / (1.0f + expf(-sums[0])) * sums[1]);
                       });
}

extern "C" __global__ void __launch_bounds__(Experts::WARPS * 32, 4)
    expert_down(const int* counts, const bf16* activated, int capacity, const bf16* down, int hidden, int inner,
                bf16* outputs) {
    const long expert = blockIdx.y;
    const int count = min(counts[expert], capacity);
    if (count <= 0) return;
    const int column = blockIdx.x * 2 * TILE;
    const long begin = (expert * hidden + column) * inner;
    const bf16* const weights[2] = {down + begin, down + begin + (long)TILE * inner};
    bf16* out = outputs + expert * capacity * hidden + column;
    multiply_all<Experts, 2, 4>(activated + expert * capacity * inner, count, weights, inner,
                                [=](int row, int offset, const float(&sums)[2]) {
                                    out[(long)row * hidden + offset] = to_bf16(sums[0]);
                                    out[(long)row * hidden + TILE + offset] = to_bf16(sums[1]);
                                });
}

// The best token of each row; with a temperature, of the logits plus Gumbel noise, which draws from their softmax.
extern "C" __global__ void __launch_bounds__(1024)
    sample(int rows, const float* logits, int vocabulary, const int* slots, const int* positions,
           const float* temperatures, const long* seeds, int* sampled) {
    __shared__ float best_values[32];
    __shared__ int best_tokens[32];
    const int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (slots[row] < 0) {
        if (threadIdx.x == 0) sampled[row] = -1;
        return;
    }
    const float temperature = temperatures[row];
    const unsigned long long seed = mix(seeds[row], positions[row]);
    float best = -CUDART_INF_F;
    int best_token = 0;
    for (int token = threadIdx.x; token < vocabulary; token += blockDim.x) {
        float value = logits[(long)row * vocabulary + token];
        if (temperature > 0.0f) {
            const float u = ((float)(mix(seed, token) >> 40) + 0.5f) * (1.0f / 16777216.0f);
            value = value / temperature - logf(-logf(u));
        }
        if (value > best) {
            best = value;
            best_token = token;
        }
    }
    for (int round = 0; round < 2; round++) {
        for (int offset = 16; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, best, offset);
            const int other_token = __shfl_xor_sync(0xffffffffu, best_token, offset);
            if (other > best || (other == best && other_token < best_token)) {
                best = other;
                best_token = other_token;
            }
        }
        if (round == 1) break;
        if (lane == 0) {
            best_values[warp] = best;
            best_tokens[warp] = best_token;
        }
        __syncthreads();
        best = lane < blockDim.x / 32 ? best_values[lane] : -CUDART_INF_F;
        best_token = lane < blockDim.x / 32 ? best_tokens[lane] : 0x7fffffff;
    }
    if (threadIdx.x == 0) sampled[row] = best_token;
}
