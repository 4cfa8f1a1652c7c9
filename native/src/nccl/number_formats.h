// The 16-bit and 8-bit floating-point formats: to float exactly, from float rounded to nearest, ties to even.
#pragma once

#include <cmath>

#include "base/float_bits.h"

namespace emu::numbers {

// A format of one sign bit, kExponent exponent bits and kMantissa mantissa bits. kFinite: e4m3's kind, without
// infinities, the last pattern alone being NaN. kSaturate: what is too large becomes the largest number, as CUDA's
// conversions to the 8-bit formats do, otherwise infinity.
template <class Storage, int kExponent, int kMantissa, bool kFinite, bool kSaturate>
struct Format {
  Storage bits;

  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr uint32_t kSign = 1u << (kExponent + kMantissa);
  static constexpr uint32_t kExponentMask = (1u << kExponent) - 1;
  static constexpr uint32_t kMantissaMask = (1u << kMantissa) - 1;
  static constexpr uint32_t kInfinity = kExponentMask << kMantissa;  // of formats that have one
  static constexpr uint32_t kNan = kFinite ? kSign - 1 : kInfinity | (1u << (kMantissa - 1));
  static constexpr uint32_t kMax = kFinite ? kSign - 2 : kInfinity - 1;

  float toFloat() const {
    const uint32_t pattern = bits;
    const uint32_t sign = (pattern & kSign) != 0 ? 0x80000000u : 0;
    const uint32_t exponent = (pattern >> kMantissa) & kExponentMask;
    const uint32_t mantissa = pattern & kMantissaMask;
    if (kFinite ? (pattern & (kSign - 1)) == kSign - 1 : (exponent == kExponentMask && mantissa != 0)) {
      return floatOf(sign | 0x7fc00000u);
    }
    if (!kFinite && exponent == kExponentMask) return floatOf(sign | 0x7f800000u);
    if (exponent == 0) {
      const float magnitude = std::ldexp(static_cast<float>(mantissa), 1 - kBias - kMantissa);
      return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t wide = exponent + 127u - static_cast<uint32_t>(kBias);
    return floatOf(sign | (wide << 23) | (mantissa << (23 - kMantissa)));
  }

  static Format fromFloat(float value) {
    const uint32_t wide = bitsOf(value);
    const uint32_t sign = (wide >> 31) != 0 ? kSign : 0;
    const uint32_t magnitude = wide & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {static_cast<Storage>(sign | kNan)};
    if (magnitude == 0x7f800000u) return tooLarge(sign);
    // The last kept bit has the weight 2^(exponent - kMantissa), and subnormal numbers share the lowest exponent.
    int exponent = static_cast<int>(magnitude >> 23) - 127;
    uint32_t significand = magnitude & 0x7fffffu;
    if (magnitude >= 0x800000u) {
      significand |= 0x800000u;
    } else {
      exponent = -126;
    }
    int shift = 23 - kMantissa;
    uint32_t result = 0;
    if (exponent >= 1 - kBias) {
      result = static_cast<uint32_t>(exponent + kBias - 1) << kMantissa;
    } else {
      shift += 1 - kBias - exponent;
      if (shift > 25) return {static_cast<Storage>(sign)};
    }
    uint32_t kept = significand >> shift;
    const uint32_t rest = significand & ((1u << shift) - 1);
    const uint32_t half = shift == 0 ? 0 : 1u << (shift - 1);
    if (shift > 0 && (rest > half || (rest == half && (kept & 1) != 0))) ++kept;
    // The leading bit of a normal number carries into the exponent.
    result += kept;
    if (result > kMax) return tooLarge(sign);
    return {static_cast<Storage>(sign | result)};
  }

 private:
  static Format tooLarge(uint32_t sign) {
    const uint32_t pattern = kSaturate ? kMax : (kFinite ? kNan : kInfinity);
    return {static_cast<Storage>(sign | pattern)};
  }
};

using Half = Format<uint16_t, 5, 10, false, false>;
using Bfloat16 = Format<uint16_t, 8, 7, false, false>;
using Float8e4m3 = Format<uint8_t, 4, 3, true, true>;
using Float8e5m2 = Format<uint8_t, 5, 2, false, true>;

}  // namespace emu::numbers
