// Live objects that the usage report counts and that belong to rooms above this one.
#pragma once

#include <atomic>
#include <cstdint>

namespace emu::objects {

// One kind of object, counted per device. Whoever makes the object calls add(device, 1), whoever ends it add(device,
// -1) with the same device.
class Counter {
 public:
  void add(int device, int64_t change);
  // device -1 = all devices.
  uint64_t count(int device) const;

 private:
  static constexpr int kDevices = 64;
  std::atomic<int64_t> counts_[kDevices] = {};
};

extern Counter communicators;
extern Counter windows;
extern Counter groups;   // ncclEpGroup
extern Counter handles;  // ncclEpHandle

}  // namespace emu::objects
