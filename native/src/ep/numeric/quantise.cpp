#include "ep/numeric/quantise.h"

#include <algorithm>
#include <cmath>

#include "ep/numeric/float16.h"
#include "nccl/number_formats.h"

namespace emu::ep {

namespace {

// e4m3 to nearest even, saturating at 448; NaN has one pattern. Without branches, so that loops over it are vectorised.
EMU_INLINE uint8_t toE4m3(float value) {
  constexpr uint32_t kInfinity = 0x7f800000u;
  constexpr uint32_t kLargest = 0x43e00000u;      // 448
  constexpr uint32_t kLeastNormal = 0x3c800000u;  // 2^-6
  constexpr float kSubnormalUnit = 0x1p14f;  // whose own unit in the last place is 2^-9, that of the subnormal numbers
  const uint32_t bits = bitsOf(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t limited = magnitude < kLargest ? magnitude : kLargest;
  const uint32_t normal = ((limited + 0x7ffffu + ((limited >> 20) & 1u)) >> 20) - (120u << 3);
  const uint32_t subnormal = bitsOf(floatOf(limited) + kSubnormalUnit) - bitsOf(kSubnormalUnit);
  const uint32_t code = ((bits >> 24) & 0x80u) | (limited < kLeastNormal ? subnormal : normal);
  return static_cast<uint8_t>(magnitude > kInfinity ? 0x7fu : code);
}

float fromE4m3(uint8_t value) { return numbers::Float8e4m3{value}.toFloat(); }

// The largest magnitude of n bf16 elements, but not below `least`. NaN counts for nothing.
float largestMagnitude(const uint16_t* elements, size_t n, float least) {
  uint16_t largest = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto magnitude = static_cast<uint16_t>(elements[i] & 0x7fff);
    const uint16_t counted = magnitude > 0x7f80 ? uint16_t{0} : magnitude;
    largest = largest < counted ? counted : largest;
  }
  return std::max(least, fromBf16(largest));
}

}  // namespace

uint8_t toE2m1(float value) {
  const int sign = std::signbit(value) ? 8 : 0;
  const float a = std::fabs(value);
  // One for each bound between neighbours that is passed; a value on one goes to the neighbour with the even code.
  const int code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f);
  return static_cast<uint8_t>(value != value ? 7 : sign | code);
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
    const float most = largestMagnitude(in, kFp8Block, 1e-4f);
    float inverse = most * (1.0f / kMost);
    float scale = kMost / most;
    if (powersOfTwo) {
      const uint32_t bits = bitsOf(inverse);
      const int exponent = static_cast<int>((bits >> 23) & 0xffu) - 127 + ((bits & 0x7fffffu) != 0 ? 1 : 0);
      scale = std::ldexp(1.0f, -exponent);
      inverse = std::ldexp(1.0f, exponent);
    }
    uint8_t codes[kFp8Block];  // bytes of the caller's could alias the input
    for (size_t i = 0; i < kFp8Block; ++i) codes[i] = toE4m3(fromBf16(in[i]) * scale);
    std::memcpy(out + block * kFp8Block, codes, sizeof codes);
    scales[block] = inverse;
  }
}

void quantiseFp4(const uint16_t* bf16, size_t elements, float global, uint8_t* out) {
  uint8_t* const factors = out + elements / 2;
  const float perGlobal = global != 0.0f ? 1.0f / global : 0.0f;
  for (size_t block = 0; block < elements / kFp4Block; ++block) {
    const uint16_t* in = bf16 + block * kFp4Block;
    const float most = largestMagnitude(in, kFp4Block, 0.0f);
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
