// Attention of single rows over their sequences' caches, for groups of query heads that share a key-value head.
#pragma once
#include "gemm.cuh"

constexpr int HEAD = 128;      // elements of a head
constexpr int CHUNK = 512;     // positions whose scores are kept at once
constexpr int SCORES = CHUNK + 4;
constexpr int ATTENTION_WARPS = 8;

// Where a head's row of a cache [slots, kv heads, context, HEAD] begins.
__device__ inline long cache_row(int slot, int kv_head, int kv_heads, int context, int position) {
    return (((long)slot * kv_heads + kv_head) * context + position) * HEAD;
}

union AttentionScratch {
    float scores[GROUP][SCORES];
    float outputs[ATTENTION_WARPS][GROUP][HEAD];
};

// Scores of 16 positions and 8 heads at a time, keys as A and queries as B of one instruction.
__device__ inline void score(const bf16* keys, const uint4 (&queries)[4], int begin, int end,
                             AttentionScratch& scratch) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, place = lane % 4;
    const float scale = rsqrtf((float)HEAD);
    for (int tile = begin + warp * TILE; tile < end; tile += ATTENTION_WARPS * TILE) {
        const bf16* upper = keys + (long)min(tile + quad, end - 1) * HEAD + place * 8;
        const bf16* lower = keys + (long)min(tile + quad + 8, end - 1) * HEAD + place * 8;
        uint4 a[4], b[4];
#pragma unroll
        for (int part = 0; part < 4; part++) {
            a[part] = load_rows(upper + part * 32);
            b[part] = load_rows(lower + part * 32);
        }
        float sums[4] = {};
#pragma unroll
        for (int part = 0; part < 4; part++) {
            multiply(sums, a[part].x, b[part].x, a[part].y, b[part].y, queries[part].x, queries[part].y);
            multiply(sums, a[part].z, b[part].z, a[part].w, b[part].w, queries[part].z, queries[part].w);
        }
        for (int i = 0; i < 4; i++) {
            const int position = tile + quad + i / 2 * 8;
            scratch.scores[place * 2 + i % 2][position - begin] = position < end ? sums[i] * scale : -CUDART_INF_F;
        }
    }
}

// One block per row, key-value head and eight query heads.
extern "C" __global__ void __launch_bounds__(ATTENTION_WARPS * 32)
    attention(int rows, const bf16* qkv, const bf16* key_cache, const bf16* value_cache, const int* slots,
              const int* positions, int heads, int kv_heads, int context, bf16* out) {
    __shared__ AttentionScratch scratch;
    __shared__ float maxima[GROUP], totals[GROUP], corrections[GROUP];
    const int row = blockIdx.x, kv_head = blockIdx.y, shared = heads / kv_heads;
    const int first_head = kv_head * shared + blockIdx.z * GROUP, used = min(GROUP, shared - (int)blockIdx.z * GROUP);
    const int slot = slots[row];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, place = lane % 4;
    if (slot < 0) {
        for (int i = threadIdx.x; i < used * HEAD; i += blockDim.x)
            out[((long)row * heads + first_head) * HEAD + i] = to_bf16(0.0f);
        return;
    }
    const int length = positions[row] + 1;
    const bf16* keys = key_cache + cache_row(slot, kv_head, kv_heads, context, 0);
    const bf16* values = value_cache + cache_row(slot, kv_head, kv_heads, context, 0);
    uint4 queries[4] = {};
    if (quad < used) {
        const bf16* query = qkv + ((long)row * (heads + 2 * kv_heads) + first_head + quad) * HEAD + place * 8;
        for (int part = 0; part < 4; part++) queries[part] = *reinterpret_cast<const uint4*>(query + part * 32);
    }
    if (threadIdx.x < GROUP) {
        maxima[threadIdx.x] = -CUDART_INF_F;
        totals[threadIdx.x] = 0.0f;
    }
    float sums[GROUP][4] = {};
    for (int begin = 0; begin < length; begin += CHUNK) {
        const int end = min(begin + CHUNK, length), padded = (end - begin + TILE - 1) / TILE * TILE;
        __syncthreads();
        score(keys, queries, begin, end, scratch);
        __syncthreads();
        float* mine = scratch.scores[warp];
        float greatest = maxima[warp];
        for (int i = lane; i < padded; i += 32) greatest = fmaxf(greatest, mine[i]);
        greatest = warp_max(greatest);
        float total = 0.0f;
        for (int i = lane; i < padded; i += 32) {
            mine[i] = expf(mine[i] - greatest);
            total += mine[i];
        }
        total = warp_sum(total);
        __syncwarp();
        if (lane == 0) {
            corrections[warp] = expf(maxima[warp] - greatest);
            totals[warp] = totals[warp] * corrections[warp] + total;
            maxima[warp] = greatest;
        }
        __syncthreads();
        for (int head = 0; head < GROUP; head++)
            for (int i = 0; i < 4; i++) sums[head][i] *= corrections[head];
        for (int at = warp * 4; at < end - begin; at += ATTENTION_WARPS * 4) {
            uint2 loaded[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                loaded[i] = __ldg(reinterpret_cast<const uint2*>(values + (long)min(begin + at + i, end - 1) * HEAD +
                                                                 lane * 4));
            float value[4][4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const bf16* halves = reinterpret_cast<const bf16*>(&loaded[i]);
                for (int d = 0; d < 4; d++) value[i][d] = to_float(halves[d]);
            }
#pragma unroll
            for (int head = 0; head < GROUP; head++) {
                const float4 weight = *reinterpret_cast<const float4*>(&scratch.scores[head][at]);
                for (int d = 0; d < 4; d++) {
                    sums[head][d] += weight.x * value[0][d];
                    sums[head][d] += weight.y * value[1][d];
                    sums[head][d] += weight.z * value[2][d];
                    sums[head][d] += weight.w * value[3][d];
                }
            }
        }
    }
    __syncthreads();
    for (int head = 0; head < GROUP; head++)
        for (int d = 0; d < 4; d++) scratch.outputs[warp][head][lane * 4 + d] = sums[head][d];
    __syncthreads();
    for (int i = threadIdx.x; i < used * HEAD; i += blockDim.x) {
        const int head = i / HEAD, d = i % HEAD;
        float sum = 0.0f;
        for (int w = 0; w < ATTENTION_WARPS; w++) sum += scratch.outputs[w][head][d];
        out[((long)row * heads + first_head) * HEAD + i] = to_bf16(sum / totals[head]);
    }
}

// Query and key heads: norm over the head, then rotation; keys and values go into the cache. A warp per head.
extern "C" __global__ void __launch_bounds__(128)
    rotate_and_cache(int rows, bf16* qkv, const bf16* query_norm, const bf16* key_norm, const float* rotations,
                     float epsilon, const int* slots, const int* positions, int heads, int kv_heads, int context,
                     bf16* key_cache, bf16* value_cache) {
    const int row = blockIdx.x, head = blockIdx.y * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    const int slot = slots[row];
    if (slot < 0 || head >= heads + 2 * kv_heads) return;
    const int position = positions[row];
    bf16* mine = qkv + ((long)row * (heads + 2 * kv_heads) + head) * HEAD;
    float x[4];
    for (int i = 0; i < 4; i++) x[i] = to_float(mine[lane + i * 32]);
    if (head >= heads + kv_heads) {
        bf16* target = value_cache + cache_row(slot, head - heads - kv_heads, kv_heads, context, position);
        for (int i = 0; i < 4; i++) target[lane + i * 32] = to_bf16(x[i]);
        return;
    }
    const bool query = head < heads;
    const bf16* weight = query ? query_norm : key_norm;
    const float inverse = rsqrtf(warp_sum(x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3]) / HEAD + epsilon);
    for (int i = 0; i < 4; i++) x[i] = rounded(rounded(x[i] * inverse) * to_float(weight[lane + i * 32]));
    bf16* target = query ? mine : key_cache + cache_row(slot, head - heads, kv_heads, context, position);
    const float* angles = rotations + (long)position * HEAD;
    for (int i = 0; i < 2; i++) {
        const float cosine = angles[lane + i * 32], sine = angles[HEAD / 2 + lane + i * 32];
        target[lane + i * 32] = to_bf16(x[i] * cosine - x[i + 2] * sine);
        target[lane + i * 32 + HEAD / 2] = to_bf16(x[i + 2] * cosine + x[i] * sine);
    }
}
