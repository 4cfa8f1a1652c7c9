// Copying token rows.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace emu::ep {

// Copies rows of an operation. Where more is moved than the caches hold, the destination is written past them: a row is not
// read before it is overwritten, as one large memcpy does it too.
class RowCopier {
 public:
  // `bytes`: all that the operation will copy on this rank; `ranks` share the caches.
  RowCopier(size_t bytes, size_t ranks) : past_(bytes > kCacheBytes / ranks) {}
  ~RowCopier() { finish(); }
  RowCopier(const RowCopier&) = delete;
  RowCopier& operator=(const RowCopier&) = delete;

  void copy(void* to, const void* from, size_t bytes) const {
#if defined(__x86_64__)
    if (past_ && reinterpret_cast<size_t>(to) % 16 == 0 && bytes % 64 == 0) {
      auto* out = static_cast<__m128i*>(to);
      const auto* in = static_cast<const __m128i*>(from);
      for (size_t i = 0; i < bytes / 16; i += 4) {
        const __m128i a = _mm_loadu_si128(in + i);
        const __m128i b = _mm_loadu_si128(in + i + 1);
        const __m128i c = _mm_loadu_si128(in + i + 2);
        const __m128i d = _mm_loadu_si128(in + i + 3);
        _mm_stream_si128(out + i, a);
        _mm_stream_si128(out + i + 1, b);
        _mm_stream_si128(out + i + 2, c);
        _mm_stream_si128(out + i + 3, d);
      }
      return;
    }
#endif
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  // Before others are told that the rows are there.
  void finish() const {
#if defined(__x86_64__)
    if (past_) _mm_sfence();
#endif
  }

 private:
  static constexpr size_t kCacheBytes = size_t{32} << 20;
  const bool past_;
};

}  // namespace emu::ep
