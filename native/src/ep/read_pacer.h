// Ranks that share processors read what was staged by turns.
#pragma once

#include <cstddef>
#include <thread>

namespace emu::ep {

// Where there are more ranks than processors, a rank that reads what all others have staged finds nothing of it in the caches any
// more: the rank before it has read other rows of all of it. Ranks that let each other go ahead after every few megabytes read
// about the same megabytes one after the other.
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
