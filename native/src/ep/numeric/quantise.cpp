#include "ep/numeric/quantise.h"

#include <algorithm>
#include <cmath>

#include "ep/numeric/float16.h"
#include "nccl/number_formats.h"

namespace emu::ep {

namespace {

// As a GPU converts: NaN has one pattern.
uint8_t toE4m3(float value) { return value != value ? 0x7f : numbers::Float8e4m3::fromFloat(value).bits; }
float fromE4m3(uint8_t value) { return numbers::Float8e4m3{value}.toFloat(); }

}  // namespace

uint8_t toE2m1(float value) {
  if (value != value) return 7;
  const uint8_t sign = std::signbit(value) ? 8 : 0;
  const float a = std::fabs(value);
  // The bounds between neighbours; a value on one goes to the neighbour with the even code.
  uint8_t code = 0;
  if (a > 0.25f) code = 1;
  if (a >= 0.75f) code = 2;
  if (a > 1.25f) code = 3;
  if (a >= 1.75f) code = 4;
  if (a > 2.5f) code = 5;
  if (a >= 3.5f) code = 6;
  if (a > 5.0f) code = 7;
  return static_cast<uint8_t>(sign | code);
}

float fromE2m1(uint8_t value) {
  static constexpr float kValues[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  const float magnitude = kValues[value & 7];
  return (value & 8) != 0 ? -magnitude : magnitude;
}

void quantiseFp8(const uint16_t* bf16, size_t elements, bool powersOfTwo, uint8_t* out, float* scales) {
  constexpr float kMost = 448.0f;
  for (size_t block = 0; block < elements / kFp8Block; ++block) {
    const uint16_t* in = bf16 + block * kFp8Block;
    float most = 1e-4f;
    for (size_t i = 0; i < kFp8Block; ++i) most = std::max(most, std::fabs(fromBf16(in[i])));
    float inverse = most * (1.0f / kMost);
    float scale = kMost / most;
    if (powersOfTwo) {
      const uint32_t bits = bitsOf(inverse);
      const int exponent = static_cast<int>((bits >> 23) & 0xffu) - 127 + ((bits & 0x7fffffu) != 0 ? 1 : 0);
      scale = std::ldexp(1.0f, -exponent);
      inverse = std::ldexp(1.0f, exponent);
    }
    for (size_t i = 0; i < kFp8Block; ++i) out[block * kFp8Block + i] = toE4m3(fromBf16(in[i]) * scale);
    scales[block] = inverse;
  }
}

void quantiseFp4(const uint16_t* bf16, size_t elements, float global, uint8_t* out) {
  uint8_t* const factors = out + elements / 2;
  const float perGlobal = global != 0.0f ? 1.0f / global : 0.0f;
  for (size_t block = 0; block < elements / kFp4Block; ++block) {
    const uint16_t* in = bf16 + block * kFp4Block;
    float most = 0.0f;
    for (size_t i = 0; i < kFp4Block; ++i) most = std::max(most, std::fabs(fromBf16(in[i])));
    const float factor = global * (most * (1.0f / 6.0f));
    const uint8_t narrow = toE4m3(factor);
    const float inverse = factor != 0.0f ? 1.0f / (fromE4m3(narrow) * perGlobal) : 0.0f;
    factors[block] = narrow;
    for (size_t i = 0; i < kFp4Block; i += 2) {
      const uint8_t low = toE2m1(fromBf16(in[i]) * inverse);
      const uint8_t high = toE2m1(fromBf16(in[i + 1]) * inverse);
      out[(block * kFp4Block + i) / 2] = static_cast<uint8_t>(low | (high << 4));
    }
  }
}

void addFp4Row(const uint8_t* row, size_t elements, float global, float weight, float* sums) {
  const uint8_t* const factors = row + elements / 2;
  const float reciprocal = 1.0f / global;
  const float perGlobal = std::isinf(reciprocal) ? 1.0f : reciprocal;
  for (size_t block = 0; block < elements / kFp4Block; ++block) {
    const float factor = fromE4m3(factors[block]) * perGlobal * weight;
    for (size_t i = block * kFp4Block; i < (block + 1) * kFp4Block; ++i) {
      const uint8_t pair = row[i / 2];
      sums[i] = std::fma(fromE2m1(i % 2 == 0 ? pair & 15 : pair >> 4), factor, sums[i]);
    }
  }
}

}  // namespace emu::ep
