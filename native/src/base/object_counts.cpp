#include "base/object_counts.h"

namespace emu::objects {

Counter communicators;
Counter windows;
Counter groups;
Counter handles;

void Counter::add(int device, int64_t change) {
  if (device >= 0 && device < kDevices) counts_[device].fetch_add(change, std::memory_order_relaxed);
}

uint64_t Counter::count(int device) const {
  int64_t sum = 0;
  for (int i = 0; i < kDevices; ++i) {
    if (device < 0 || device == i) sum += counts_[i].load(std::memory_order_relaxed);
  }
  return sum > 0 ? static_cast<uint64_t>(sum) : 0;
}

}  // namespace emu::objects
