// Live objects that the usage report counts and that belong to rooms above this one.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/options.h"

namespace emu::objects {

// One kind of object, counted per device. Whoever makes the object calls add(device, 1), whoever ends it add(device,
// -1) with the same device.
class Counter {
 public:
  void add(int device, int64_t change) {
    if (device >= 0 && device < options::kMostDevices) counts_[device].fetch_add(change, std::memory_order_relaxed);
  }

  // device -1 = all devices.
  uint64_t count(int device) const {
    int64_t sum = 0;
    for (int i = 0; i < options::kMostDevices; ++i) {
      if (device < 0 || device == i) sum += counts_[i].load(std::memory_order_relaxed);
    }
    return sum > 0 ? static_cast<uint64_t>(sum) : 0;
  }

 private:
  std::atomic<int64_t> counts_[options::kMostDevices] = {};
};

inline Counter communicators;
inline Counter windows;
inline Counter groups;   // ncclEpGroup
inline Counter handles;  // ncclEpHandle

}  // namespace emu::objects
