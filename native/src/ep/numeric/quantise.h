// Narrow floating-point formats and the quantising recipes of dispatch and combine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emu::ep {

// e2m1: to nearest even, saturating at 6; four bits.
uint8_t toE2m1(float value);
float fromE2m1(uint8_t value);

// DS_FP8E3M4: blocks of 128 bf16 elements become e4m3 with one fp32 factor each, by which they are multiplied back.
constexpr size_t kFp8Block = 128;
void quantiseFp8(const uint16_t* bf16, size_t elements, bool powersOfTwo, uint8_t* out, float* scales);

// NVFP4: blocks of 16 bf16 elements become e2m1 with one e4m3 factor each, below a factor `global` of the whole row.
constexpr size_t kFp4Block = 16;
constexpr size_t fp4RowBytes(size_t elements) { return elements / 2 + elements / kFp4Block; }
void quantiseFp4(const uint16_t* bf16, size_t elements, float global, uint8_t* out);
// sums[i] = fma(value, factor * weight, sums[i]) over a row that quantiseFp4 wrote.
void addFp4Row(const uint8_t* row, size_t elements, float global, float weight, float* sums);

}  // namespace emu::ep
