// An allocator that keeps freed blocks for a while, so that a stale handle is found in no registry instead of being
// taken for a newer object at the same address.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <new>

#include "base/never_destroyed.h"

namespace emu::nccl {

template <class T>
struct DelayedFreeAllocator {
  using value_type = T;

  DelayedFreeAllocator() = default;
  template <class U>
  DelayedFreeAllocator(const DelayedFreeAllocator<U>&) {}

  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T))); }

  void deallocate(T* block, size_t) {
    Blocks& kept = neverDestroyed<Blocks>();
    const std::lock_guard<std::mutex> lock(kept.mutex);
    kept.freed.push_back(block);
    if (kept.freed.size() > kBlocks) {
      ::operator delete(kept.freed.front());
      kept.freed.pop_front();
    }
  }

  friend bool operator==(const DelayedFreeAllocator&, const DelayedFreeAllocator&) { return true; }
  friend bool operator!=(const DelayedFreeAllocator&, const DelayedFreeAllocator&) { return false; }

 private:
  static constexpr size_t kBlocks = 1024;

  struct Blocks {
    std::mutex mutex;
    std::deque<void*> freed;
  };
};

}  // namespace emu::nccl
