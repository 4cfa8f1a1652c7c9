// Addresses for emulated memory: large reservations without access, of which pieces are opened and closed. A freed
// address is not given out again before the whole space has been used once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace emu {

// A piece of the space, without access until it is opened. Gives itself back.
class AddressRange {
 public:
  AddressRange(uintptr_t base, size_t bytes) : base_(base), bytes_(bytes) {}
  ~AddressRange();
  AddressRange(const AddressRange&) = delete;
  AddressRange& operator=(const AddressRange&) = delete;

  uintptr_t base() const { return base_; }
  // Readable and writable from now on, backed when touched: zeros, or a pattern where the option poison is on. False
  // where the process would come too close to the number of mappings that the kernel allows it (vm.max_map_count).
  bool open();
  // No access, no pages.
  void close();

 private:
  const uintptr_t base_;
  const size_t bytes_;
  std::atomic<size_t> mappings_{0};  // that it has while it is open
};

class AddressSpace {
 public:
  static AddressSpace& instance();

  // Whole pages for `bytes`, with an inaccessible page behind them. 0 = no address space is left.
  uintptr_t take(size_t bytes);
  void give(uintptr_t base);
  // Whether the address lies in a reservation: then it can only be (or have been) emulated memory.
  bool contains(const void* address);
  static size_t wholePages(size_t bytes);

 private:
  struct Region {
    uintptr_t base;
    size_t bytes;
    uintptr_t cursor;
    std::map<uintptr_t, uintptr_t> taken;  // base -> end, guard page included
  };

  bool addRegion(size_t least);
  static uintptr_t takeFrom(Region& region, size_t bytes);
  static uintptr_t firstFit(Region& region, uintptr_t from, uintptr_t to, size_t bytes);

  std::mutex mutex_;
  std::vector<Region> regions_;
};

}  // namespace emu
