// bfloat16 and IEEE half precision: conversions round to nearest even, NaN becomes the one that a GPU writes.
#pragma once

#include <cmath>

#include "base/float_bits.h"

namespace emu::ep {

EMU_INLINE float fromBf16(uint16_t value) { return floatOf(static_cast<uint32_t>(value) << 16); }

EMU_INLINE uint16_t toBf16(float value) {
  const uint32_t bits = bitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

EMU_INLINE float fromHalf(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000u) << 16;
  const uint32_t exponent = (value >> 10) & 0x1fu;
  const uint32_t mantissa = value & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return floatOf(bitsOf(magnitude) | sign);
  }
  if (exponent == 31) return floatOf(sign | 0x7f800000u | (mantissa << 13));
  return floatOf(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

EMU_INLINE uint16_t toHalf(float value) {
  const uint32_t bits = bitsOf(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fff;
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {                                              // below 2^-14: a multiple of 2^-24
    const float steps = std::nearbyint(floatOf(magnitude) * 0x1p24f);
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(steps));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

// fp32 results carry the GPU's NaN as well.
EMU_INLINE float canonical(float value) { return value != value ? floatOf(0x7fffffffu) : value; }

}  // namespace emu::ep
