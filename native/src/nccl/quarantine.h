// An allocator that keeps freed blocks for a while, so that a stale handle is found in no registry instead of being taken for a
// newer object at the same address.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <new>

namespace emu::nccl {

template <class T>
struct QuarantineAllocator {
  using value_type = T;

  QuarantineAllocator() = default;
  template <class U>
  QuarantineAllocator(const QuarantineAllocator<U>&) {}

  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T))); }

  void deallocate(T* block, size_t) {
    Quarantine& kept = quarantine();
    const std::lock_guard<std::mutex> lock(kept.mutex);
    kept.blocks.push_back(block);
    if (kept.blocks.size() > kBlocks) {
      ::operator delete(kept.blocks.front());
      kept.blocks.pop_front();
    }
  }

  friend bool operator==(const QuarantineAllocator&, const QuarantineAllocator&) { return true; }
  friend bool operator!=(const QuarantineAllocator&, const QuarantineAllocator&) { return false; }

 private:
  static constexpr size_t kBlocks = 1024;

  struct Quarantine {
    std::mutex mutex;
    std::deque<void*> blocks;
  };

  // Never destroyed: objects may end after the statics of this library.
  static Quarantine& quarantine() {
    static Quarantine* const instance = new Quarantine;
    return *instance;
  }
};

}  // namespace emu::nccl
