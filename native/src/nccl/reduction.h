// Reductions over the ranks' data, in rank order, so that the result is the same on every rank and in every run. 16-bit
// and 8-bit floating-point types are accumulated in float and rounded once.
#pragma once

#include <cstddef>

#include "abi/nccl.h"

namespace emu::nccl {

// The built-in operators, and the one whose input is multiplied before the sum.
enum class Reducer : unsigned int { Sum = 0, Prod, Max, Min, Avg, PreMulSum };

// out[i] = sources[0][i] o sources[1][i] o ...; `out` may be none of the sources.
void reduce(ncclDataType_t type, Reducer reducer, const unsigned char* const* sources, int count, unsigned char* out,
            size_t elements);

// out[i] = in[i] * *scalar, the scalar being of the same type.
void scale(ncclDataType_t type, const void* scalar, const unsigned char* in, unsigned char* out, size_t elements);

}  // namespace emu::nccl
