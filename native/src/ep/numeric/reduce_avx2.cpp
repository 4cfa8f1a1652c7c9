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

struct Avx2Vector {
  using Register = __m256;
  static constexpr size_t kWidth = 8;

  EMU_EP_INLINE static Register zero() { return _mm256_setzero_ps(); }
  EMU_EP_INLINE static Register set(float value) { return _mm256_set1_ps(value); }
  EMU_EP_INLINE static Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
  EMU_EP_INLINE static Register fma(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }

  template <class Type>
  EMU_EP_INLINE static Register load(const typename Type::Storage* p) {
    if constexpr (std::is_same_v<Type, Bf16>) {
      const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16));
    } else if constexpr (std::is_same_v<Type, Half>) {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    } else {
      return _mm256_loadu_ps(p);
    }
  }

  template <class Type>
  EMU_EP_INLINE static void store(typename Type::Storage* p, Register sum) {
    const Register nan = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(Type::kNan)));
    const Register value = _mm256_blendv_ps(sum, nan, _mm256_cmp_ps(sum, sum, _CMP_UNORD_Q));
    if constexpr (std::is_same_v<Type, Bf16>) {
      const __m256i bits = _mm256_castps_si256(value);
      const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
      const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
      const __m256i high = _mm256_srli_epi32(rounded, 16);
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
    } else if constexpr (std::is_same_v<Type, Half>) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    } else {
      _mm256_storeu_ps(p, value);
    }
  }
};

}  // namespace

const Table kAvx2 = tableOf<Avx2Vector>();

}  // namespace emu::ep::reduce

#endif
