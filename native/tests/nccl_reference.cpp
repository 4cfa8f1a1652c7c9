#include "nccl_reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace nccl_test {

namespace {

struct Layout {
  int exponent;
  int mantissa;
  bool infinities;
};

Layout layoutOf(ncclDataType_t type) {
  switch (type) {
    case ncclFloat16: return {5, 10, true};
    case ncclBfloat16: return {8, 7, true};
    case ncclFloat8e4m3: return {4, 3, false};
    default: return {5, 2, true};
  }
}

double valueOf(ncclDataType_t type, uint64_t pattern) {
  const Layout layout = layoutOf(type);
  const int bias = (1 << (layout.exponent - 1)) - 1;
  const auto mantissa = static_cast<double>(pattern & ((1u << layout.mantissa) - 1));
  const int exponent = static_cast<int>(pattern >> layout.mantissa) & ((1 << layout.exponent) - 1);
  const double sign = ((pattern >> (layout.exponent + layout.mantissa)) & 1) != 0 ? -1 : 1;
  const double scale = std::pow(2.0, layout.mantissa);
  const bool highest = exponent == (1 << layout.exponent) - 1;
  if (highest && layout.infinities) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  if (highest && mantissa == scale - 1) return std::numeric_limits<double>::quiet_NaN();
  if (exponent == 0) return sign * std::pow(2.0, 1 - bias) * (mantissa / scale);
  return sign * std::pow(2.0, exponent - bias) * (1 + mantissa / scale);
}

// Every pattern of a narrow type.
struct Table {
  explicit Table(ncclDataType_t type) {
    for (uint64_t pattern = 0; pattern < uint64_t{1} << (8 * bytesOf(type)); ++pattern) {
      values.push_back(valueOf(type, pattern));
    }
    largest = values.size() / 2 - 1;
    while (!std::isfinite(values[largest])) --largest;
  }

  std::vector<double> values;
  uint64_t largest;  // the pattern of the largest finite number
};

const Table& tableOf(ncclDataType_t type) {
  static const Table half(ncclFloat16);
  static const Table bfloat16(ncclBfloat16);
  static const Table e4m3(ncclFloat8e4m3);
  static const Table e5m2(ncclFloat8e5m2);
  switch (type) {
    case ncclFloat16: return half;
    case ncclBfloat16: return bfloat16;
    case ncclFloat8e4m3: return e4m3;
    default: return e5m2;
  }
}

uint64_t patternAt(ncclDataType_t type, const Bytes& elements, size_t index) {
  uint64_t pattern = 0;
  memcpy(&pattern, elements.data() + index * bytesOf(type), bytesOf(type));
  return pattern;
}

void put(ncclDataType_t type, Bytes& elements, size_t index, uint64_t pattern) {
  memcpy(elements.data() + index * bytesOf(type), &pattern, bytesOf(type));
}

bool isSigned(ncclDataType_t type) { return type == ncclInt8 || type == ncclInt32 || type == ncclInt64; }

// The pattern of an integer type as a number.
int64_t signedValue(ncclDataType_t type, uint64_t pattern) {
  const int bits = static_cast<int>(8 * bytesOf(type));
  return static_cast<int64_t>(pattern << (64 - bits)) >> (64 - bits);
}

uint64_t masked(ncclDataType_t type, uint64_t value) {
  return bytesOf(type) == 8 ? value : value & ((uint64_t{1} << (8 * bytesOf(type))) - 1);
}

bool less(ncclDataType_t type, uint64_t a, uint64_t b) {
  return isSigned(type) ? signedValue(type, a) < signedValue(type, b) : a < b;
}

uint64_t reduceIntegers(ncclDataType_t type, ncclRedOp_t reduction, const std::vector<uint64_t>& values) {
  uint64_t result = values[0];
  for (size_t i = 1; i < values.size(); ++i) {
    switch (reduction) {
      case ncclProd: result = masked(type, result * values[i]); break;
      case ncclMax: result = less(type, result, values[i]) ? values[i] : result; break;
      case ncclMin: result = less(type, values[i], result) ? values[i] : result; break;
      default: result = masked(type, result + values[i]); break;
    }
  }
  if (reduction != ncclAvg) return result;
  const auto count = static_cast<int64_t>(values.size());
  if (isSigned(type)) return masked(type, static_cast<uint64_t>(signedValue(type, result) / count));
  return result / static_cast<uint64_t>(count);
}

// In the precision P, as the emulator promises: float for everything narrower.
template <class P>
P reduceFloats(ncclRedOp_t reduction, const std::vector<P>& values) {
  P result = values[0];
  for (size_t i = 1; i < values.size(); ++i) {
    switch (reduction) {
      case ncclProd: result *= values[i]; break;
      case ncclMax: result = std::max(result, values[i]); break;
      case ncclMin: result = std::min(result, values[i]); break;
      default: result += values[i]; break;
    }
  }
  return reduction == ncclAvg ? result / static_cast<P>(values.size()) : result;
}

uint64_t encode(ncclDataType_t type, double value) {
  uint64_t pattern = 0;
  if (type == ncclFloat64) {
    memcpy(&pattern, &value, sizeof value);
  } else if (type == ncclFloat32) {
    const float narrow = static_cast<float>(value);
    memcpy(&pattern, &narrow, sizeof narrow);
  } else {
    pattern = nearest(type, value);
  }
  return pattern;
}

}  // namespace

size_t bytesOf(ncclDataType_t type) {
  constexpr size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return sizes[type];
}

bool isInteger(ncclDataType_t type) { return type <= ncclUint64; }

double decode(ncclDataType_t type, uint64_t pattern) {
  if (type == ncclFloat64) {
    double value;
    memcpy(&value, &pattern, sizeof value);
    return value;
  }
  if (type == ncclFloat32) {
    float value;
    memcpy(&value, &pattern, sizeof value);
    return value;
  }
  return tableOf(type).values[pattern];
}

uint64_t nearest(ncclDataType_t type, double value) {
  const Table& table = tableOf(type);
  const uint64_t sign = std::signbit(value) ? table.values.size() / 2 : 0;
  if (std::isnan(value)) return sign | (table.values.size() / 2 - 1);
  // The finite magnitudes rise with their patterns.
  const double magnitude = std::fabs(value);
  const auto first = table.values.begin();
  const auto end = first + static_cast<std::ptrdiff_t>(table.largest) + 1;
  const auto low = static_cast<uint64_t>(std::upper_bound(first, end, magnitude) - first) - 1;
  const double below = table.values[low];
  // Beyond the largest number the next step decides between it and infinity; the 8-bit types saturate.
  const double step = low == table.largest ? below - table.values[low - 1] : table.values[low + 1] - below;
  const double rest = magnitude - below;
  const bool up = rest > step / 2 || (rest == step / 2 && (low & 1) != 0);
  if (!up) return sign | low;
  if (low < table.largest) return sign | (low + 1);
  return sign | (bytesOf(type) == 1 ? table.largest : table.largest + 1);
}

Bytes randomElements(ncclDataType_t type, size_t count, std::mt19937_64& random) {
  Bytes elements(count * bytesOf(type));
  for (size_t i = 0; i < count; ++i) {
    if (isInteger(type)) {
      put(type, elements, i, random());
      continue;
    }
    // Products of 64 numbers around 1 stay finite.
    const uint64_t bits = random();
    const double magnitude = 0.75 + 0.75 * static_cast<double>(bits >> 11) / static_cast<double>(uint64_t{1} << 53);
    put(type, elements, i, encode(type, (bits & 1) != 0 ? magnitude : -magnitude));
  }
  return elements;
}

Bytes reduceAll(ncclDataType_t type, ncclRedOp_t reduction, const std::vector<Bytes>& inputs) {
  Bytes result(inputs[0].size());
  const size_t count = result.size() / bytesOf(type);
  std::vector<uint64_t> patterns;
  std::vector<double> wide;
  std::vector<float> narrow;
  for (size_t i = 0; i < count; ++i) {
    patterns.clear();
    wide.clear();
    narrow.clear();
    for (const Bytes& input : inputs) {
      patterns.push_back(patternAt(type, input, i));
      if (isInteger(type)) continue;
      wide.push_back(decode(type, patterns.back()));
      narrow.push_back(static_cast<float>(wide.back()));
    }
    if (isInteger(type)) {
      put(type, result, i, reduceIntegers(type, reduction, patterns));
    } else if (type == ncclFloat64) {
      put(type, result, i, encode(type, reduceFloats(reduction, wide)));
    } else {
      put(type, result, i, encode(type, static_cast<double>(reduceFloats(reduction, narrow))));
    }
  }
  return result;
}

Bytes scaleAll(ncclDataType_t type, const Bytes& input, const unsigned char* scalar) {
  Bytes result(input.size());
  uint64_t factor = 0;
  memcpy(&factor, scalar, bytesOf(type));
  for (size_t i = 0; i < input.size() / bytesOf(type); ++i) {
    const uint64_t pattern = patternAt(type, input, i);
    if (isInteger(type)) {
      put(type, result, i, masked(type, pattern * factor));
    } else if (type == ncclFloat64) {
      put(type, result, i, encode(type, decode(type, pattern) * decode(type, factor)));
    } else {
      const float product = static_cast<float>(decode(type, pattern)) * static_cast<float>(decode(type, factor));
      put(type, result, i, encode(type, static_cast<double>(product)));
    }
  }
  return result;
}

std::string show(ncclDataType_t type, const Bytes& elements, size_t index) {
  const uint64_t pattern = patternAt(type, elements, index);
  return std::to_string(pattern) + (isInteger(type) ? "" : " = " + std::to_string(decode(type, pattern)));
}

}  // namespace nccl_test
