#include "cuda/graph_memory.h"

#include <map>
#include <mutex>

#include "base/faults.h"
#include "cuda/blocks.h"
#include "cuda/failure.h"

namespace emu {

namespace {

struct Registry {
  std::mutex mutex;
  std::map<uintptr_t, std::weak_ptr<GraphMemory>> byAddress;
};

Registry& registry() { return neverDestroyed<Registry>(); }

}  // namespace

std::shared_ptr<GraphMemory> GraphMemory::reserve(size_t bytes, int device) {
  require(bytes <= options::deviceMemory() && !faults::failAllocation(device), cudaErrorMemoryAllocation);
  const uintptr_t base = AddressSpace::instance().take(bytes);
  require(base != 0, cudaErrorMemoryAllocation);
  auto range = std::make_shared<AddressRange>(base, AddressSpace::wholePages(bytes));
  const auto made = std::make_shared<GraphMemory>(bytes, device, std::move(range));
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().byAddress[base] = made;
  return made;
}

std::shared_ptr<GraphMemory> GraphMemory::at(const void* address) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const auto found = registry().byAddress.find(reinterpret_cast<uintptr_t>(address));
  return found == registry().byAddress.end() ? nullptr : found->second.lock();
}

GraphMemory::~GraphMemory() {
  free("cudaGraphDestroy");
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().byAddress.erase(range_->base());
}

cudaError_t GraphMemory::allocate() {
  const memory::Block block{range_->base(), bytes_, device_, memory::Kind::Device, false, 0};
  const auto live = std::make_shared<memory::LiveBlock>(block, "a graph");
  live->range = range_;
  if (memory::blocks().at(range_->base()) != nullptr) return cudaErrorIllegalState;
  if (!range_->open()) return cudaErrorMemoryAllocation;
  return memory::blocks().add(live);
}

void GraphMemory::free(const char* function) {
  const std::shared_ptr<memory::LiveBlock> live = memory::blocks().remove(range_->base(), function);
  // Work that still uses the block keeps its pages; otherwise they go.
  if (live != nullptr && live.use_count() == 1) range_->close();
}

}  // namespace emu
