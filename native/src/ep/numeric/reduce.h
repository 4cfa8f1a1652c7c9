// Sums of token rows. Accumulators are fp32 and start at +0; the result is rounded once. Every instruction set gives
// the same bits.
#pragma once

#include <cstddef>

#include "abi/nccl_ep.h"

namespace emu::ep {

// out = sum of rows[0..n-1] in this order, of bf16, fp16 or fp32 elements. With weights, which may be NULL, each row is
// multiplied by its own: acc = fma(rows[i], weights[i], acc).
void sumRows(ncclDataType_t type, const void* const* rows, const float* weights, size_t n, size_t elements, void* out);

namespace reduce {

enum class Isa { Scalar, Avx2, Avx512 };

using Function = void (*)(const void* const* rows, const float* weights, size_t n, size_t elements, void* out);

// A function for each element type (bf16, fp16, fp32), plain and weighted.
struct Table {
  Function of[3][2];
};

extern const Table kScalar;
#if defined(__x86_64__)
extern const Table kAvx2;
extern const Table kAvx512;
#endif

bool supported(Isa isa);
const Table& table(Isa isa);
const Table& best();

}  // namespace reduce
}  // namespace emu::ep
