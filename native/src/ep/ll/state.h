// What the LL operations of a group share on the device: send buffers, epoch, masks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/faults.h"
#include "ep/ll/send_buffer.h"

namespace emu::ep {

struct LlState {
  // ---- the buffer ----
  std::atomic<size_t> bufferBytes{0};       // by the real library's formula; 0 = not allocated yet
  std::atomic<uint32_t> generation{0};      // rises when the buffer grows: graphs captured before are void
  SendBufferLayout sendBuffers{Shape{}};    // of the exchange payload

  // ---- epoch; advanced by running work, in stream order ----
  std::atomic<bool> busy{false};            // catches operations that nothing orders
  uint64_t epoch = 0;
  bool sendPending = false;
  faults::Operation pendingFaults;          // of the operation whose send half ran last
  bool silent = false;

  // ---- masks ----
  std::unique_ptr<std::atomic<int>[]> mask; // 1 = active; NULL without enable_mask
  std::atomic<int> asyncError{0};
  uint64_t cleans = 0;

  // ---- scratch of the operation that runs ----
  std::vector<uint32_t> perRank;
  std::vector<uint32_t> lastToken;
  std::vector<int32_t> sources;
  std::vector<int32_t> order;
  std::vector<const void*> contributions;   // [T][K]
  std::vector<float> sums;

  bool active(int rank) const { return !mask || mask[static_cast<size_t>(rank)].load(std::memory_order_relaxed) != 0; }
};

}  // namespace emu::ep
