// Element types and reductions written down a second time, slowly: what the emulator's results are compared with.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "abi/nccl.h"

namespace nccl_test {

using Bytes = std::vector<unsigned char>;

constexpr ncclDataType_t kAllTypes[] = {ncclInt8,    ncclUint8,   ncclInt32,   ncclUint32,   ncclInt64,      ncclUint64,
                                        ncclFloat16, ncclFloat32, ncclFloat64, ncclBfloat16, ncclFloat8e4m3, ncclFloat8e5m2};
constexpr ncclRedOp_t kAllReductions[] = {ncclSum, ncclProd, ncclMax, ncclMin, ncclAvg};

size_t bytesOf(ncclDataType_t type);
bool isInteger(ncclDataType_t type);

// The value of a pattern of a floating-point type.
double decode(ncclDataType_t type, uint64_t pattern);
// The pattern of the 8-bit or 16-bit type nearest to the value, ties to even, found by looking at all of them.
uint64_t nearest(ncclDataType_t type, double value);

// Elements that stay in range under every reduction of up to 64 ranks for floating-point types; any bits for integers.
Bytes randomElements(ncclDataType_t type, size_t count, std::mt19937_64& random);

// inputs[rank] reduced in rank order.
Bytes reduceAll(ncclDataType_t type, ncclRedOp_t reduction, const std::vector<Bytes>& inputs);
// input[i] * *scalar.
Bytes scaleAll(ncclDataType_t type, const Bytes& input, const unsigned char* scalar);

std::string show(ncclDataType_t type, const Bytes& elements, size_t index);

}  // namespace nccl_test
