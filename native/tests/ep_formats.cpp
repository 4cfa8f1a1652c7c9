#include "ep_formats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace ep_test {

namespace {

// A format with `mantissa` stored bits, the least exponent of a normal number and the largest finite value.
struct Format {
  int mantissa;
  int leastExponent;
  double largest;
};

constexpr Format kBfloat16{7, -126, 3.3895313892515355e38};
constexpr Format kFloat16{10, -14, 65504.0};
constexpr Format kE4m3{3, -6, 448.0};

double nearest(const Format& format, double value) {
  if (value == 0.0 || !std::isfinite(value)) return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int unit = std::max(exponent - 1, format.leastExponent) - format.mantissa;
  return std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
}

double nearestOrInfinite(const Format& format, double value) {
  const double result = nearest(format, value);
  return std::fabs(result) > format.largest ? std::copysign(INFINITY, value) : result;
}

uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// The magnitude's bits: a normal number's leading bit counts as one step of the exponent field.
uint32_t fields(const Format& format, double magnitude) {
  if (magnitude == 0.0) return 0;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int biased = std::max(exponent - 1, format.leastExponent);
  const auto steps = static_cast<uint32_t>(std::ldexp(magnitude, format.mantissa - biased));
  return (static_cast<uint32_t>(biased - format.leastExponent) << format.mantissa) + steps;
}

double valueOf(const Format& format, uint32_t magnitude) {
  const uint32_t field = magnitude >> format.mantissa;
  const uint32_t mantissa = magnitude & ((1u << format.mantissa) - 1);
  if (field == 0) return std::ldexp(mantissa, format.leastExponent - format.mantissa);
  return std::ldexp(mantissa + (1u << format.mantissa),
                    static_cast<int>(field) - 1 + format.leastExponent - format.mantissa);
}

float fromHalf(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fffu;
  const double value = magnitude > 0x7c00 ? NAN : magnitude == 0x7c00 ? INFINITY : valueOf(kFloat16, magnitude);
  return static_cast<float>((bits & 0x8000) != 0 ? -value : value);
}

const std::vector<float>& halves() {
  static const std::vector<float> all = [] {
    std::vector<float> values(0x10000);
    for (size_t bits = 0; bits < values.size(); ++bits) values[bits] = fromHalf(static_cast<uint16_t>(bits));
    return values;
  }();
  return all;
}

}  // namespace

size_t bytesOf(ncclDataType_t type) {
  switch (static_cast<int>(type)) {
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64: return 8;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    default: return 1;
  }
}

float rounded(ncclDataType_t type, float value) {
  switch (static_cast<int>(type)) {
    case ncclFloat32: return value;
    case ncclFloat16: return static_cast<float>(nearestOrInfinite(kFloat16, value));
    case ncclBfloat16: {
      // bf16 is the upper half of fp32, so that to round is to add; also into the infinite.
      const uint32_t bits = bitsOf(value);
      if (!std::isfinite(value)) return value;
      return fromBits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000);
    }
    default: return std::clamp(std::nearbyint(value * 16.0f), -128.0f, 127.0f) / 16.0f;
  }
}

void encode(ncclDataType_t type, float value, unsigned char* element) {
  const float exact = rounded(type, value);
  switch (static_cast<int>(type)) {
    case ncclFloat32: std::memcpy(element, &exact, 4); return;
    case ncclBfloat16: {
      const auto bits = static_cast<uint16_t>(bitsOf(exact) >> 16);
      std::memcpy(element, &bits, 2);
      return;
    }
    case ncclFloat16: {
      const uint32_t magnitude = std::isinf(exact) ? 0x7c00 : fields(kFloat16, std::fabs(exact));
      const auto bits = static_cast<uint16_t>(magnitude | (std::signbit(exact) ? 0x8000u : 0u));
      std::memcpy(element, &bits, 2);
      return;
    }
    default: *element = static_cast<unsigned char>(static_cast<signed char>(exact * 16.0f)); return;
  }
}

float decode(ncclDataType_t type, const unsigned char* element) {
  uint16_t half = 0;
  switch (static_cast<int>(type)) {
    case ncclFloat32: {
      float value;
      std::memcpy(&value, element, 4);
      return value;
    }
    case ncclBfloat16: std::memcpy(&half, element, 2); return fromBits(static_cast<uint32_t>(half) << 16);
    case ncclFloat16: std::memcpy(&half, element, 2); return halves()[half];
    default: return static_cast<float>(static_cast<signed char>(*element)) / 16.0f;
  }
}

float decodeE4m3(unsigned char element) {
  const double value = valueOf(kE4m3, element & 0x7fu);
  return static_cast<float>((element & 0x80) != 0 ? -value : value);
}

BlockScaled toBlockScaled(const std::vector<float>& row, bool roundScales) {
  BlockScaled result;
  for (size_t from = 0; from < row.size(); from += 128) {
    float largest = 1e-4f;
    for (size_t i = from; i < from + 128; ++i) largest = std::max(largest, std::fabs(row[i]));
    float factor = largest * (1.0f / 448.0f), scale = 448.0f / largest;
    if (roundScales) {
      int exponent = 0;
      const float fraction = std::frexp(factor, &exponent);  // factor = fraction * 2^exponent, fraction in [0.5, 1)
      const int up = fraction == 0.5f ? exponent - 1 : exponent;
      factor = std::ldexp(1.0f, up);
      scale = std::ldexp(1.0f, -up);
    }
    for (size_t i = from; i < from + 128; ++i) {
      const float scaled = row[i] * scale;
      const double value = std::min(nearest(kE4m3, std::fabs(scaled)), kE4m3.largest);
      result.values.push_back(static_cast<unsigned char>(fields(kE4m3, value) | (std::signbit(scaled) ? 0x80u : 0u)));
    }
    result.factors.push_back(factor);
  }
  return result;
}

}  // namespace ep_test
