// Number formats of tokens, for what tests expect: by the definition of rounding, with none of the library's code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi/nccl_ep.h"

namespace ep_test {

size_t bytesOf(ncclDataType_t type);

// Elements of bf16, fp16 and fp32, to nearest even. A type of one byte, which the library only passes on, counts
// sixteenths here.
float decode(ncclDataType_t type, const unsigned char* element);
void encode(ncclDataType_t type, float value, unsigned char* element);
float rounded(ncclDataType_t type, float value);

float decodeE4m3(unsigned char element);

// 5.7.3 on a row: blocks of 128 values, each with a factor.
struct BlockScaled {
  std::vector<unsigned char> values;
  std::vector<float> factors;
};
BlockScaled toBlockScaled(const std::vector<float>& row, bool roundScales);

}  // namespace ep_test
