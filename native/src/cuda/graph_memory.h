// Memory that a graph allocates and frees: an address fixed when the node is captured, live from the run of its
// allocation node to that of a free.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include "abi/cuda_runtime.h"
#include "cuda/address_space.h"

namespace emu {

class GraphMemory : public std::enable_shared_from_this<GraphMemory> {
 public:
  // An address for `bytes` on the device; it is withdrawn with the last owner. Fails if there is none.
  static std::shared_ptr<GraphMemory> reserve(size_t bytes, int device);
  // The reservation that starts at the address; NULL if there is none.
  static std::shared_ptr<GraphMemory> at(const void* address);

  GraphMemory(size_t bytes, int device, std::shared_ptr<AddressRange> range)
      : bytes_(bytes), device_(device), range_(std::move(range)) {}
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;

  void* address() const { return reinterpret_cast<void*>(range_->base()); }

  // What the nodes do. allocate() fails if it is live.
  cudaError_t allocate();
  void free(const char* function);

  // In the order of the calls, ahead of the work: set by the launch that allocates, cleared by what frees.
  std::atomic<bool> allocated{false};

 private:
  const size_t bytes_;
  const int device_;
  const std::shared_ptr<AddressRange> range_;
};

}  // namespace emu
