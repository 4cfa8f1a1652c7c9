// Everything after the pragma may use AVX2, FMA and F16C; called only where the processor has them.
#include "ep/numeric/reduce.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#pragma GCC target("avx2,fma,f16c")

#include "ep/numeric/reduce_body.h"

namespace emu::ep::reduce {

namespace {

struct Avx2 {
  static constexpr size_t kWidth = 8;
  using Register = __m256;
  typedef uint32_t Bits __attribute__((vector_size(32)));
  typedef uint16_t Shorts __attribute__((vector_size(16)));

  EMU_INLINE static Register fma(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }
  EMU_INLINE static Register fromHalf(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  EMU_INLINE static void toHalf(uint16_t* p, Register value) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
  }
};

}  // namespace

const Table kAvx2 = tableOf<Avx2>();

}  // namespace emu::ep::reduce

#endif
