// The loops behind the tables of reduce.h, over an instruction set. Each table has a type of its own for that, without
// external linkage, so that no instantiation is shared between instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ep/numeric/float16.h"

namespace emu::ep::reduce {

struct Bf16 {
  using Storage = uint16_t;
  static constexpr uint32_t kNan = 0x7fff0000u;  // fp32 bits that convert to the type's NaN
  EMU_INLINE static float load(const Storage* p) { return fromBf16(*p); }
  EMU_INLINE static void store(Storage* p, float value) { *p = toBf16(value); }
};

struct Half {
  using Storage = uint16_t;
  static constexpr uint32_t kNan = 0x7fffe000u;
  EMU_INLINE static float load(const Storage* p) { return fromHalf(*p); }
  EMU_INLINE static void store(Storage* p, float value) { *p = toHalf(value); }
};

struct Single {
  using Storage = float;
  static constexpr uint32_t kNan = 0x7fffffffu;
  EMU_INLINE static float load(const Storage* p) { return *p; }
  EMU_INLINE static void store(Storage* p, float value) { *p = canonical(value); }
};

template <class Isa, class Type, bool kWeighted>
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

// Loads and stores of one instruction set. Isa: Register of kWidth floats, Bits and Shorts of as many integers, and
// fma(), fromHalf() and toHalf(), for which there are no operators. A width of 0: no registers, and nothing of that.
template <class Isa>
struct Vector {
  using Register = typename Isa::Register;
  using Bits = typename Isa::Bits;
  using Shorts = typename Isa::Shorts;

  template <class Type>
  EMU_INLINE static Register load(const typename Type::Storage* p) {
    if constexpr (std::is_same_v<Type, Half>) {
      return Isa::fromHalf(p);
    } else if constexpr (std::is_same_v<Type, Bf16>) {
      Shorts shorts;
      std::memcpy(&shorts, p, sizeof shorts);
      return (Register)(__builtin_convertvector(shorts, Bits) << 16);
    } else {
      Register value;
      std::memcpy(&value, p, sizeof value);
      return value;
    }
  }

  template <class Type>
  EMU_INLINE static void store(typename Type::Storage* p, Register sum) {
    const Register value = sum == sum ? sum : (Register)(Bits{} + Type::kNan);
    if constexpr (std::is_same_v<Type, Half>) {
      Isa::toHalf(p, value);
    } else if constexpr (std::is_same_v<Type, Bf16>) {
      const Bits bits = (Bits)value;
      const Shorts shorts = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, Shorts);
      std::memcpy(p, &shorts, sizeof shorts);
    } else {
      std::memcpy(p, &value, sizeof value);
    }
  }
};

template <class Isa, class Type, bool kWeighted>
void reduceRows(const void* const* rows, const float* weights, size_t n, size_t elements, void* out) {
  size_t i = 0;
  if constexpr (Isa::kWidth > 0) {
    using Storage = typename Type::Storage;
    using Register = typename Isa::Register;
    constexpr size_t kWidth = Isa::kWidth;
    constexpr size_t kUnroll = 4;
    Storage* const result = static_cast<Storage*>(out);
    for (; i + kUnroll * kWidth <= elements; i += kUnroll * kWidth) {
      Register sums[kUnroll] = {};
      for (size_t r = 0; r < n; ++r) {
        const Storage* row = static_cast<const Storage*>(rows[r]) + i;
        for (size_t u = 0; u < kUnroll; ++u) {
          const Register x = Vector<Isa>::template load<Type>(row + u * kWidth);
          sums[u] = kWeighted ? Register(Isa::fma(x, Register{} + weights[r], sums[u])) : sums[u] + x;
        }
      }
      for (size_t u = 0; u < kUnroll; ++u) Vector<Isa>::template store<Type>(result + i + u * kWidth, sums[u]);
    }
  }
  reduceTail<Isa, Type, kWeighted>(rows, weights, n, i, elements, out);
}

template <class Isa>
constexpr Table tableOf() {
  return Table{{{&reduceRows<Isa, Bf16, false>, &reduceRows<Isa, Bf16, true>},
                {&reduceRows<Isa, Half, false>, &reduceRows<Isa, Half, true>},
                {&reduceRows<Isa, Single, false>, &reduceRows<Isa, Single, true>}}};
}

}  // namespace emu::ep::reduce
