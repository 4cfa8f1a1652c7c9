// The live blocks of memory by address, and the history of those that were freed.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>

#include "base/never_destroyed.h"
#include "base/options.h"
#include "cuda/address_space.h"
#include "cuda/memory.h"

namespace emu::memory {

// What a kind of memory is called, and who makes and ends it.
struct KindTraits {
  const char* name;
  const char* allocator;
  const char* releaser;
};
const KindTraits& traitsOf(Kind kind);

// Who did something to a block, and when.
struct Mark {
  const char* function = "";
  int thread = 0;
  uint64_t time = 0;

  static Mark by(const char* function);
  std::string text() const;  // "3 ms ago by cudaFree in thread 12"
};

struct LiveBlock {
  LiveBlock(const Block& live, const char* function) : block(live), allocated(Mark::by(function)) {}

  const Block block;
  const Mark allocated;
  std::shared_ptr<AddressRange> range;  // NULL for memory that is the caller's
  std::atomic<bool> freeing{false};     // cudaFreeAsync was called, its work has not run
};

class Blocks {
 public:
  // An error if it overlaps a live block (memory of the caller only) or exceeds the device's memory.
  cudaError_t add(const std::shared_ptr<LiveBlock>& block);
  // Takes out the block that starts at `base`; NULL if there is none.
  std::shared_ptr<LiveBlock> remove(uintptr_t base, const char* function);
  std::shared_ptr<LiveBlock> at(uintptr_t address) const;  // that holds the address
  std::string describe(uintptr_t address) const;

  Usage usage(int device) const;
  std::deque<std::shared_ptr<LiveBlock>> ofDevice(int device) const;
  void resetPeak(int device);
  void resetPooledPeak(int device);

 private:
  struct FreedBlock {
    Block block;
    Mark allocated;
    Mark freed;
  };

  std::shared_ptr<LiveBlock> holding(uintptr_t address) const;
  void account(const Block& block, int64_t sign);
  void remember(const LiveBlock& block, const char* function);

  static constexpr size_t kHistory = 16384;

  mutable std::shared_mutex mutex_;
  std::map<uintptr_t, std::shared_ptr<LiveBlock>> live_;
  std::map<uintptr_t, std::shared_ptr<const FreedBlock>> freed_;
  std::deque<uintptr_t> freedOrder_;
  Usage usage_[options::kMostDevices];
};

inline Blocks& blocks() { return neverDestroyed<Blocks>(); }

}  // namespace emu::memory
