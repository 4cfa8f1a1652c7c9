#include "cuda/memory.h"

#include <unistd.h>

#include "base/faults.h"
#include "base/host_access.h"
#include "base/options.h"
#include "cuda/blocks.h"
#include "cuda/device.h"
#include "cuda/graph_memory.h"
#include "cuda/work.h"

namespace emu::memory {

namespace {

uintptr_t number(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// Memory of the caller's becomes a block.
cudaError_t adopt(const Block& block) {
  return blocks().add(std::make_shared<LiveBlock>(block, traitsOf(block.kind).allocator));
}

// The live block of the kind that begins at the address; NULL if there is none.
std::shared_ptr<LiveBlock> beginningAt(const void* pointer, Kind kind) {
  std::shared_ptr<LiveBlock> live = blocks().at(number(pointer));
  return live != nullptr && live->block.base == number(pointer) && live->block.kind == kind ? live : nullptr;
}

// More than this is refused before anything is mapped: on its way to failing, mapping would use up the entries that the
// process has.
uint64_t available(Kind kind) {
  if (!onHost(kind)) return options::deviceMemory();
  static const uint64_t physical = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * host::pageSize();
  return physical;
}

// Gives the block an address and memory.
cudaError_t allocateBlock(Block block, const char* function, void** out) {
  *out = nullptr;
  if (block.bytes == 0) return cudaSuccess;
  if (block.bytes > available(block.kind) || faults::failAllocation(block.device)) return cudaErrorMemoryAllocation;
  block.base = AddressSpace::instance().take(block.bytes);
  if (block.base == 0) return cudaErrorMemoryAllocation;
  const auto live = std::make_shared<LiveBlock>(block, function);
  live->range = std::make_shared<AddressRange>(block.base, AddressSpace::wholePages(block.bytes));
  if (!live->range->open()) return cudaErrorMemoryAllocation;
  const cudaError_t added = blocks().add(live);
  if (added == cudaSuccess) *out = reinterpret_cast<void*>(block.base);
  return added;
}

bool mayTouch(const Block& block, int device) {
  return device < 0 || block.device == device || onHost(block.kind) || (block.devices >> device & 1) != 0 ||
         device::peerEnabled(device, block.device);
}

// Ends a block of memory that is the caller's.
cudaError_t forget(void* pointer, Kind kind) {
  const std::shared_ptr<LiveBlock> live = beginningAt(pointer, kind);
  if (live == nullptr) return cudaErrorInvalidValue;
  if (const cudaError_t failed = drainDevice(live->block.device)) return failed;
  blocks().remove(number(pointer), traitsOf(kind).releaser);
  return cudaSuccess;
}

}  // namespace

cudaError_t allocate(size_t bytes, Kind kind, void** out) {
  return allocateBlock(Block{0, bytes, device::current(), kind, false, 0}, traitsOf(kind).allocator, out);
}

cudaError_t allocatePooled(size_t bytes, int device, void** out) {
  return allocateBlock(Block{0, bytes, device, Kind::Device, true, 0}, "cudaMallocAsync", out);
}

cudaError_t release(void* pointer, Kind kind) {
  if (pointer == nullptr) return cudaSuccess;
  const std::shared_ptr<LiveBlock> live = beginningAt(pointer, kind);
  if (live == nullptr || live->freeing) return cudaErrorInvalidValue;
  if (const cudaError_t failed = drainDevice(live->block.device)) return failed;
  if (blocks().remove(number(pointer), traitsOf(kind).releaser) == nullptr) return cudaErrorInvalidValue;
  if (const auto graphs = GraphMemory::at(pointer)) graphs->allocated = false;  // freed by a call instead of a node
  return cudaSuccess;
}

bool find(const void* address, Block* block) {
  const std::shared_ptr<LiveBlock> live = blocks().at(number(address));
  if (live == nullptr) return false;
  *block = live->block;
  return true;
}

bool accessible(const void* address, size_t bytes, int device, std::string* why) {
  Pin pinned;
  return pin(address, bytes, device, why, &pinned);
}

bool pin(const void* address, size_t bytes, int device, std::string* why, Pin* pinned) {
  if (bytes == 0) return true;
  const std::shared_ptr<LiveBlock> live = blocks().at(number(address));
  if (live == nullptr) {
    *why = describe(address);
  } else if (bytes > live->block.base + live->block.bytes - number(address)) {
    *why = std::to_string(bytes) + " bytes do not fit: " + describe(address);
  } else if (live->range == nullptr && !host::readable(address, bytes)) {
    *why = describe(address) + ", whose pages are gone";  // memory of the caller's
  } else if (!mayTouch(live->block, device)) {
    *why = "device " + std::to_string(device) + " has no access: " + describe(address);
  } else {
    *pinned = live;
    return true;
  }
  return false;
}

std::string describe(const void* address) { return blocks().describe(number(address)); }

cudaError_t beginFree(void* pointer) {
  const std::shared_ptr<LiveBlock> live = beginningAt(pointer, Kind::Device);
  return live == nullptr || live->freeing.exchange(true) ? cudaErrorInvalidValue : cudaSuccess;
}

void endFree(void* pointer) { blocks().remove(number(pointer), "cudaFreeAsync"); }

cudaError_t registerHost(void* pointer, size_t bytes) {
  return adopt(Block{number(pointer), bytes, device::current(), Kind::Registered, false, 0});
}

cudaError_t unregisterHost(void* pointer) {
  if (blocks().at(number(pointer)) == nullptr) return cudaErrorHostMemoryNotRegistered;
  return forget(pointer, Kind::Registered);
}

cudaError_t declare(void* pointer, size_t bytes, int device, uint64_t devices) {
  return adopt(Block{number(pointer), bytes, device, Kind::Declared, false, devices});
}

cudaError_t withdraw(void* pointer) { return forget(pointer, Kind::Declared); }

Usage usage(int device) { return blocks().usage(device); }

void resetPooledPeak(int device) { blocks().resetPooledPeak(device); }

void forgetDevice(int device) {
  for (const std::shared_ptr<LiveBlock>& live : blocks().ofDevice(device)) {
    blocks().remove(live->block.base, "cudaDeviceReset");
  }
  blocks().resetPeak(device);
}

}  // namespace emu::memory
