// Products of few rows with large weights, bound by the memory that the weights come from.
//
// Weights are [columns, k] as in the checkpoint, rows are [rows, k]. mma m16n8k16 takes 16 columns of weights as its A
// and 8 rows as its B. A thread loads 16 bytes, eight values that follow each other in k, for A and B alike: the order
// in k within an instruction is another one than the instruction's own, but the same on both sides. The warps of a
// block share k between them and are summed in order. So a row's result depends on nothing but the row: not on how many
// others there are, nor where.
#pragma once
#include "numbers.cuh"

constexpr int TILE = 16;        // columns of weights per instruction
constexpr int GROUP = 8;        // rows per instruction
constexpr int HALF = 32;        // k of two instructions: 16 bytes of each thread
constexpr int SUMMED_ROWS = 32; // rows that are summed over the warps at once
constexpr int PADDED = 36;      // keeps the writes of a warp in different banks

// How a kernel shares out its work: warps of a block, and how many times HALF of k a warp loads at once.
template <int WARPS_, int HALVES_>
struct Shape {
    static constexpr int WARPS = WARPS_, HALVES = HALVES_, STEP = HALVES_ * HALF;
    struct Sums {
        float values[WARPS][SUMMED_ROWS][PADDED];
    };
};

__device__ inline void multiply(float (&sum)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                                unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Weights are read once: they need not stay in the first cache.
__device__ inline uint4 load_weights(const bf16* address) {
    uint4 value;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(address));
    return value;
}

__device__ inline uint4 load_rows(const bf16* address) { return __ldg(reinterpret_cast<const uint4*>(address)); }

// GROUPS * 8 rows from `first` on times TILES * 16 columns; store(row, column, sums of the tiles at that column).
template <typename S, int TILES, int GROUPS, typename Store>
__device__ inline void multiply_rows(const bf16* rows, int first, int count, const bf16* const (&weights)[TILES], int k,
                                     typename S::Sums& partial, Store store) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, place = lane % 4;
    float sums[TILES][GROUPS][4] = {};
    const bf16* columns[TILES];
    for (int tile = 0; tile < TILES; tile++) columns[tile] = weights[tile] + (long)quad * k + place * 8;
    const bf16* inputs[GROUPS];
    for (int group = 0; group < GROUPS; group++) {
        // Rows beyond the count are read from the last one, so that only rows in use are touched.
        const int row = min(first + group * GROUP + quad, count - 1);
        inputs[group] = rows + (long)row * k + place * 8;
    }
    uint4 a[TILES][S::HALVES][2];
    int at = warp * S::STEP;
    auto load = [&](int from) {
#pragma unroll
        for (int tile = 0; tile < TILES; tile++)
#pragma unroll
            for (int half = 0; half < S::HALVES; half++) {
                a[tile][half][0] = load_weights(columns[tile] + from + half * HALF);
                a[tile][half][1] = load_weights(columns[tile] + (long)8 * k + from + half * HALF);
            }
    };
    if (at < k) load(at);
    while (at < k) {
        uint4 current[TILES][S::HALVES][2];
#pragma unroll
        for (int tile = 0; tile < TILES; tile++)
#pragma unroll
            for (int half = 0; half < S::HALVES; half++)
                for (int side = 0; side < 2; side++) current[tile][half][side] = a[tile][half][side];
        const int next = at + S::WARPS * S::STEP;
        if (next < k) load(next);
#pragma unroll
        for (int group = 0; group < GROUPS; group++)
#pragma unroll
            for (int half = 0; half < S::HALVES; half++) {
                const uint4 b = load_rows(inputs[group] + at + half * HALF);
#pragma unroll
                for (int tile = 0; tile < TILES; tile++) {
                    const uint4 upper = current[tile][half][0], lower = current[tile][half][1];
                    multiply(sums[tile][group], upper.x, lower.x, upper.y, lower.y, b.x, b.y);
                    multiply(sums[tile][group], upper.z, lower.z, upper.w, lower.w, b.z, b.w);
                }
            }
        at = next;
    }
    constexpr int PASS = GROUPS * GROUP < SUMMED_ROWS ? GROUPS : SUMMED_ROWS / GROUP;
#pragma unroll
    for (int begin = 0; begin < GROUPS; begin += PASS) {
        __syncthreads();
#pragma unroll
        for (int group = 0; group < PASS; group++)
#pragma unroll
            for (int tile = 0; tile < TILES; tile++)
                for (int i = 0; i < 4; i++)
                    partial.values[warp][group * GROUP + place * 2 + i % 2][tile * TILE + quad + i / 2 * 8] =
                        sums[tile][begin + group][i];
        __syncthreads();
        for (int cell = threadIdx.x; cell < PASS * GROUP * TILE; cell += blockDim.x) {
            const int row = cell / TILE, column = cell % TILE;
            if (first + begin * GROUP + row >= count) continue;
            float total[TILES] = {};
            for (int w = 0; w < S::WARPS; w++)
                for (int tile = 0; tile < TILES; tile++) total[tile] += partial.values[w][row][tile * TILE + column];
            store(first + begin * GROUP + row, column, total);
        }
    }
}

// All rows of a count that is known on the device only, at most MOST * GROUP at a time, which bounds the registers.
template <typename S, int TILES, int MOST, typename Store>
__device__ inline void multiply_all(const bf16* rows, int count, const bf16* const (&weights)[TILES], int k,
                                    Store store) {
    __shared__ typename S::Sums partial;
    for (int first = 0; first < count;) {
        const int left = count - first;
        if (left <= 8) {
            multiply_rows<S, TILES, 1>(rows, first, count, weights, k, partial, store);
            first += 8;
        } else if (left <= 16) {
            multiply_rows<S, TILES, 2>(rows, first, count, weights, k, partial, store);
            first += 16;
        } else if (left <= 32 || MOST == 4) {
            multiply_rows<S, TILES, 4>(rows, first, count, weights, k, partial, store);
            first += 32;
        } else {
            multiply_rows<S, TILES, MOST>(rows, first, count, weights, k, partial, store);
            first += MOST * GROUP;
        }
    }
}
