#include "ep/numeric/reduce.h"

#include "ep/numeric/reduce_body.h"

namespace emu::ep {

namespace reduce {

namespace {

struct NoVector {
  static constexpr size_t kWidth = 0;
};

}  // namespace

const Table kScalar = tableOf<NoVector>();

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

void sumRows(ncclDataType_t type, const void* const* rows, const float* weights, size_t n, size_t elements, void* out) {
  const size_t element = type == ncclBfloat16 ? 0 : type == ncclFloat16 ? 1 : 2;
  reduce::best().of[element][weights != nullptr ? 1 : 0](rows, weights, n, elements, out);
}

}  // namespace emu::ep
