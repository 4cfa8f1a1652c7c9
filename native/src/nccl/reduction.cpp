#include "nccl/reduction.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "nccl/number_formats.h"

namespace emu::nccl {

namespace {

// How elements of one type are stored and computed with. Integers compute unsigned: NCCL's wrap around.
template <class T>
struct Plain {
  using Stored = T;
  using Value = T;
  static Value load(Stored stored) { return stored; }
  static Stored store(Value value) { return value; }
};

template <class F>
struct Narrow {
  using Stored = F;
  using Value = float;
  static Value load(Stored stored) { return stored.toFloat(); }
  static Stored store(Value value) { return F::fromFloat(value); }
};

template <class T>
using Wrapping = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;

template <class T>
T add(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
}

template <class T>
T multiply(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
}

// Of a number and a NaN, the number.
template <class T>
T larger(T a, T b) {
  return a <= b || std::isnan(a) ? b : a;
}

template <class T>
T smaller(T a, T b) {
  return b <= a || std::isnan(a) ? b : a;
}

template <class Element>
struct Kernel {
  using Stored = typename Element::Stored;
  using Value = typename Element::Value;
  static constexpr size_t kBlock = 512;

  static Stored at(const unsigned char* data, size_t index) {
    Stored stored;
    memcpy(&stored, data + index * sizeof stored, sizeof stored);
    return stored;
  }

  template <class Combine>
  static void fold(const unsigned char* const* sources, int count, Combine combine, bool average, unsigned char* out,
                   size_t elements) {
    Value values[kBlock];
    Stored stored[kBlock];
    for (size_t start = 0; start < elements; start += kBlock) {
      const size_t length = std::min(kBlock, elements - start);
      for (size_t i = 0; i < length; ++i) values[i] = Element::load(at(sources[0], start + i));
      for (int source = 1; source < count; ++source) {
        for (size_t i = 0; i < length; ++i) {
          values[i] = combine(values[i], Element::load(at(sources[source], start + i)));
        }
      }
      if (average) {
        for (size_t i = 0; i < length; ++i) values[i] = static_cast<Value>(values[i] / static_cast<Value>(count));
      }
      for (size_t i = 0; i < length; ++i) stored[i] = Element::store(values[i]);
      memcpy(out + start * sizeof(Stored), stored, length * sizeof(Stored));
    }
  }

  static void reduce(Reducer reducer, const unsigned char* const* sources, int count, unsigned char* out,
                     size_t elements) {
    switch (reducer) {
      case Reducer::Prod: return fold(sources, count, multiply<Value>, false, out, elements);
      case Reducer::Max: return fold(sources, count, larger<Value>, false, out, elements);
      case Reducer::Min: return fold(sources, count, smaller<Value>, false, out, elements);
      case Reducer::Avg: return fold(sources, count, add<Value>, true, out, elements);
      case Reducer::Sum:
      case Reducer::PreMulSum: return fold(sources, count, add<Value>, false, out, elements);
    }
  }

  static void scale(const void* scalar, const unsigned char* in, unsigned char* out, size_t elements) {
    const Value factor = Element::load(at(static_cast<const unsigned char*>(scalar), 0));
    for (size_t i = 0; i < elements; ++i) {
      const Stored product = Element::store(multiply(Element::load(at(in, i)), factor));
      memcpy(out + i * sizeof product, &product, sizeof product);
    }
  }
};

template <class Apply>
void withKernel(ncclDataType_t type, Apply apply) {
  switch (type) {
    case ncclInt8: return apply(Kernel<Plain<int8_t>>());
    case ncclUint8: return apply(Kernel<Plain<uint8_t>>());
    case ncclInt32: return apply(Kernel<Plain<int32_t>>());
    case ncclUint32: return apply(Kernel<Plain<uint32_t>>());
    case ncclInt64: return apply(Kernel<Plain<int64_t>>());
    case ncclUint64: return apply(Kernel<Plain<uint64_t>>());
    case ncclFloat16: return apply(Kernel<Narrow<numbers::Half>>());
    case ncclFloat32: return apply(Kernel<Plain<float>>());
    case ncclFloat64: return apply(Kernel<Plain<double>>());
    case ncclBfloat16: return apply(Kernel<Narrow<numbers::Bfloat16>>());
    case ncclFloat8e4m3: return apply(Kernel<Narrow<numbers::Float8e4m3>>());
    case ncclFloat8e5m2: return apply(Kernel<Narrow<numbers::Float8e5m2>>());
    default: return;
  }
}

}  // namespace

void reduce(ncclDataType_t type, Reducer reducer, const unsigned char* const* sources, int count, unsigned char* out,
            size_t elements) {
  withKernel(type, [&](auto kernel) { decltype(kernel)::reduce(reducer, sources, count, out, elements); });
}

void scale(ncclDataType_t type, const void* scalar, const unsigned char* in, unsigned char* out, size_t elements) {
  withKernel(type, [&](auto kernel) { decltype(kernel)::scale(scalar, in, out, elements); });
}

}  // namespace emu::nccl
