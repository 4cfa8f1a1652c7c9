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

struct Avx512Vector {
  using Register = __m512;
  static constexpr size_t kWidth = 16;

  EMU_EP_INLINE static Register zero() { return _mm512_setzero_ps(); }
  EMU_EP_INLINE static Register set(float value) { return _mm512_set1_ps(value); }
  EMU_EP_INLINE static Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
  EMU_EP_INLINE static Register fma(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }

  template <class Type>
  EMU_EP_INLINE static Register load(const typename Type::Storage* p) {
    if constexpr (std::is_same_v<Type, Bf16>) {
      const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(packed), 16));
    } else if constexpr (std::is_same_v<Type, Half>) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    } else {
      return _mm512_loadu_ps(p);
    }
  }

  template <class Type>
  EMU_EP_INLINE static void store(typename Type::Storage* p, Register sum) {
    const Register nan = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(Type::kNan)));
    const Register value = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q), sum, nan);
    if constexpr (std::is_same_v<Type, Bf16>) {
      const __m512i bits = _mm512_castps_si512(value);
      const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
      const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
    } else if constexpr (std::is_same_v<Type, Half>) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    } else {
      _mm512_storeu_ps(p, value);
    }
  }
};

}  // namespace

const Table kAvx512 = tableOf<Avx512Vector>();

}  // namespace emu::ep::reduce

#endif
