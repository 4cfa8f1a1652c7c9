// Copying token rows, and reading by turns what was staged.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#include <thread>
#endif

namespace emu::ep {

// Copies rows of an operation. Where more is moved than the caches hold, the destination is written past them: a row is
// not read before it is overwritten, as one large memcpy does it too.
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
      if (bytes % (kStreams * 64) == 0) {
        copyPast<kStreams>(to, from, bytes);
      } else {
        copyPast<1>(to, from, bytes);
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

#if defined(__x86_64__)
  // A row is a few pages long, and the processor fetches ahead within a page only: several parts side by side keep it
  // busy.
  static constexpr size_t kStreams = 4;

  template <size_t kParts>
  static void copyPast(void* to, const void* from, size_t bytes) {
    const size_t part = bytes / kParts;
    for (size_t i = 0; i < part; i += 64) {
      for (size_t p = 0; p < kParts; ++p) {
        auto* const out = reinterpret_cast<__m128i*>(static_cast<unsigned char*>(to) + p * part + i);
        const auto* const in = reinterpret_cast<const __m128i*>(static_cast<const unsigned char*>(from) + p * part + i);
        const __m128i a = _mm_loadu_si128(in);
        const __m128i b = _mm_loadu_si128(in + 1);
        const __m128i c = _mm_loadu_si128(in + 2);
        const __m128i d = _mm_loadu_si128(in + 3);
        _mm_stream_si128(out, a);
        _mm_stream_si128(out + 1, b);
        _mm_stream_si128(out + 2, c);
        _mm_stream_si128(out + 3, d);
      }
    }
  }
#endif

  const bool past_;
};

// Where there are more ranks than processors, a rank that reads what all others have staged finds nothing of it in the
// caches any more: the rank before it has read other rows of all of it. Ranks that let each other go ahead after every
// few megabytes read about the same megabytes one after the other.
class ReadPacer {
 public:
  // `bytes`: what a source has staged, for all ranks.
  ReadPacer(int ranks, size_t bytes) : bytes_(static_cast<size_t>(ranks) > processors() ? bytes : 0) {}

  // Before the next source.
  void next() {
    passed_ += bytes_;
    if (passed_ < kTurnBytes) return;
    passed_ = 0;
    std::this_thread::yield();
  }

 private:
  static constexpr size_t kTurnBytes = size_t{4} << 20;

  static size_t processors() {
    static const size_t count = std::thread::hardware_concurrency();
    return count;
  }

  const size_t bytes_;
  size_t passed_ = 0;
};

}  // namespace emu::ep
