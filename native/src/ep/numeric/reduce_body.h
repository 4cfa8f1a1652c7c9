// The loops behind the tables of reduce.h, over a vector type that knows how to load, add and store. Each table has a
// vector type of its own without external linkage, so that no instantiation is shared between instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ep/numeric/float16.h"

namespace emu::ep::reduce {

struct Bf16 {
  using Storage = uint16_t;
  static constexpr uint32_t kNan = 0x7fff0000u;  // fp32 bits that convert to the type's NaN
  EMU_EP_INLINE static float load(const Storage* p) { return fromBf16(*p); }
  EMU_EP_INLINE static void store(Storage* p, float value) { *p = toBf16(value); }
};

struct Half {
  using Storage = uint16_t;
  static constexpr uint32_t kNan = 0x7fffe000u;
  EMU_EP_INLINE static float load(const Storage* p) { return fromHalf(*p); }
  EMU_EP_INLINE static void store(Storage* p, float value) { *p = toHalf(value); }
};

struct Single {
  using Storage = float;
  static constexpr uint32_t kNan = 0x7fffffffu;
  EMU_EP_INLINE static float load(const Storage* p) { return *p; }
  EMU_EP_INLINE static void store(Storage* p, float value) { *p = canonical(value); }
};

template <class Vector, class Type, bool kWeighted>
void reduceTail(const void* const* rows, const float* weights, size_t n, size_t from, size_t elements, void* out) {
  using Storage = typename Type::Storage;
  for (size_t i = from; i < elements; ++i) {
    float sum = 0.0f;
    for (size_t r = 0; r < n; ++r) {
      const float x = Type::load(static_cast<const Storage*>(rows[r]) + i);
      sum = kWeighted ? std::fma(x, weights[r], sum) : sum + x;
    }
    Type::store(static_cast<Storage*>(out) + i, sum);
  }
}

// Vector: Register, kWidth, zero(), set(float), load<Type>, fma, add, store<Type>.
template <class Vector, class Type, bool kWeighted>
void reduceRows(const void* const* rows, const float* weights, size_t n, size_t elements, void* out) {
  using Storage = typename Type::Storage;
  using Register = typename Vector::Register;
  constexpr size_t kUnroll = 4;
  constexpr size_t kStep = kUnroll * Vector::kWidth;
  Storage* const result = static_cast<Storage*>(out);
  size_t i = 0;
  for (; i + kStep <= elements; i += kStep) {
    Register sums[kUnroll];
    for (Register& sum : sums) sum = Vector::zero();
    for (size_t r = 0; r < n; ++r) {
      const Storage* row = static_cast<const Storage*>(rows[r]) + i;
      for (size_t u = 0; u < kUnroll; ++u) {
        const Register x = Vector::template load<Type>(row + u * Vector::kWidth);
        sums[u] = kWeighted ? Vector::fma(x, Vector::set(weights[r]), sums[u]) : Vector::add(sums[u], x);
      }
    }
    for (size_t u = 0; u < kUnroll; ++u) Vector::template store<Type>(result + i + u * Vector::kWidth, sums[u]);
  }
  reduceTail<Vector, Type, kWeighted>(rows, weights, n, i, elements, out);
}

template <class Vector>
constexpr Table tableOf() {
  return Table{&reduceRows<Vector, Bf16, false>, &reduceRows<Vector, Bf16, true>,    &reduceRows<Vector, Half, false>,
               &reduceRows<Vector, Half, true>,  &reduceRows<Vector, Single, false>, &reduceRows<Vector, Single, true>};
}

}  // namespace emu::ep::reduce
