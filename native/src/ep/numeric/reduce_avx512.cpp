// Everything after the pragma may use AVX-512F; called only where the processor has it.
#include "ep/numeric/reduce.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

// GCC 12 finds the deliberately undefined operands of its own intrinsics.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target("avx512f,avx2,fma,f16c")

#include "ep/numeric/reduce_body.h"

namespace emu::ep::reduce {

namespace {

struct Avx512 {
  static constexpr size_t kWidth = 16;
  using Register = __m512;
  typedef uint32_t Bits __attribute__((vector_size(64)));
  typedef uint16_t Shorts __attribute__((vector_size(32)));

  EMU_INLINE static Register fma(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }
  EMU_INLINE static Register fromHalf(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  EMU_INLINE static void toHalf(uint16_t* p, Register value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
  }
};

}  // namespace

const Table kAvx512 = tableOf<Avx512>();

}  // namespace emu::ep::reduce

#endif
