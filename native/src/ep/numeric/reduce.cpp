#include "ep/numeric/reduce.h"

#include "ep/numeric/reduce_body.h"

namespace emu::ep {

namespace reduce {

namespace {

struct NoVector {};

template <class Type, bool kWeighted>
void reduceScalar(const void* const* rows, const float* weights, size_t n, size_t elements, void* out) {
  reduceTail<NoVector, Type, kWeighted>(rows, weights, n, 0, elements, out);
}

}  // namespace

const Table kScalar = {&reduceScalar<Bf16, false>, &reduceScalar<Bf16, true>,   &reduceScalar<Half, false>,
                       &reduceScalar<Half, true>,  &reduceScalar<Single, false>, &reduceScalar<Single, true>};

bool supported(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::Avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  }
  if (isa == Isa::Avx512) return supported(Isa::Avx2) && __builtin_cpu_supports("avx512f");
#endif
  return isa == Isa::Scalar;
}

const Table& table(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::Avx2) return kAvx2;
  if (isa == Isa::Avx512) return kAvx512;
#endif
  (void)isa;
  return kScalar;
}

const Table& best() {
  static const Table& chosen =
      table(supported(Isa::Avx512) ? Isa::Avx512 : supported(Isa::Avx2) ? Isa::Avx2 : Isa::Scalar);
  return chosen;
}

}  // namespace reduce

void sumRows(ncclDataType_t type, const void* const* rows, size_t n, size_t elements, void* out) {
  const reduce::Table& table = reduce::best();
  const auto function = type == ncclBfloat16 ? table.bf16 : type == ncclFloat16 ? table.half : table.single;
  function(rows, nullptr, n, elements, out);
}

void sumWeightedRows(ncclDataType_t type, const void* const* rows, const float* weights, size_t n, size_t elements,
                     void* out) {
  const reduce::Table& table = reduce::best();
  const auto function =
      type == ncclBfloat16 ? table.bf16Weighted : type == ncclFloat16 ? table.halfWeighted : table.singleWeighted;
  function(rows, weights, n, elements, out);
}

}  // namespace emu::ep
