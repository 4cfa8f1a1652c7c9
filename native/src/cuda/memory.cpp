#include "cuda/memory.h"

#include <unistd.h>

#include "base/faults.h"
#include "base/host_access.h"
#include "base/options.h"
#include "base/thread.h"
#include "base/try.h"
#include "cuda/blocks.h"
#include "cuda/device.h"
#include "cuda/graph_memory.h"
#include "cuda/work.h"

namespace emu::memory {

namespace {

const char* allocator(Kind kind) {
  switch (kind) {
    case Kind::Device: return "cudaMalloc";
    case Kind::Pinned: return "cudaMallocHost";
    case Kind::Registered: return "cudaHostRegister";
    case Kind::Declared: return "a declaration";
    default: return "ncclMemAlloc";
  }
}

const char* releaser(Kind kind) {
  switch (kind) {
    case Kind::Device: return "cudaFree";
    case Kind::Pinned: return "cudaFreeHost";
    case Kind::Registered: return "cudaHostUnregister";
    case Kind::Declared: return "a withdrawal";
    default: return "ncclMemFree";
  }
}

uintptr_t number(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

std::shared_ptr<LiveBlock> makeBlock(const Block& block, const char* function) {
  auto live = std::make_shared<LiveBlock>();
  live->block = block;
  live->block.serial = Blocks::instance().nextSerial();
  live->allocated = Mark::by(function);
  return live;
}

bool hostMemory(Kind kind) { return kind == Kind::Pinned || kind == Kind::Registered; }

// More than this is refused before anything is mapped: on its way to failing, mapping would use up the entries that the
// process has.
uint64_t available(Kind kind) {
  if (!hostMemory(kind)) return options::deviceMemory();
  static const uint64_t physical = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * AddressSpace::pageSize();
  return physical;
}

// Gives the block an address and memory.
cudaError_t allocateBlock(Block block, const char* function, void** out) {
  *out = nullptr;
  if (block.bytes == 0) return cudaSuccess;
  if (block.bytes > available(block.kind) || faults::failAllocation(block.device)) return cudaErrorMemoryAllocation;
  block.base = AddressSpace::instance().take(block.bytes);
  if (block.base == 0) return cudaErrorMemoryAllocation;
  const std::shared_ptr<LiveBlock> live = makeBlock(block, function);
  live->range = std::make_shared<AddressRange>(block.base, AddressSpace::wholePages(block.bytes));
  if (!live->range->open()) return cudaErrorMemoryAllocation;
  const cudaError_t added = Blocks::instance().add(live);
  if (added == cudaSuccess) *out = reinterpret_cast<void*>(block.base);
  return added;
}

bool mayTouch(const Block& block, int device) {
  return device < 0 || block.device == device || hostMemory(block.kind) || (block.devices >> device & 1) != 0 ||
         device::peerEnabled(device, block.device);
}

}  // namespace

cudaError_t allocate(size_t bytes, Kind kind, void** out) {
  return allocateBlock(Block{0, bytes, device::current(), kind, 0, false, 0}, allocator(kind), out);
}

cudaError_t allocatePooled(size_t bytes, int device, void** out) {
  return allocateBlock(Block{0, bytes, device, Kind::Device, 0, true, 0}, "cudaMallocAsync", out);
}

cudaError_t release(void* pointer, Kind kind) {
  if (pointer == nullptr) return cudaSuccess;
  const std::shared_ptr<LiveBlock> live = Blocks::instance().at(number(pointer));
  if (live == nullptr || live->block.base != number(pointer) || live->block.kind != kind || live->freeing) {
    return cudaErrorInvalidValue;
  }
  EMU_TRY(drainDevice(live->block.device));
  const std::shared_ptr<LiveBlock> removed = Blocks::instance().remove(number(pointer), releaser(kind));
  if (removed == nullptr) return cudaErrorInvalidValue;
  GraphMemory::freed(pointer);
  return cudaSuccess;
}

bool find(const void* address, Block* block) {
  const std::shared_ptr<LiveBlock> live = Blocks::instance().at(number(address));
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
  const std::shared_ptr<LiveBlock> live = Blocks::instance().at(number(address));
  if (live != nullptr) {
    const Block& block = live->block;
    const bool fits = bytes <= block.base + block.bytes - number(address);
    // What is the caller's may be unmapped meanwhile.
    if (fits && live->range == nullptr && !host::readable(address, bytes)) {
      if (why != nullptr) *why = describe(address) + ", whose pages are gone";
      return false;
    }
    if (fits && mayTouch(block, device)) {
      *pinned = live;
      return true;
    }
    if (why != nullptr) {
      *why = fits ? "device " + std::to_string(device) + " has no access: " + describe(address)
                  : std::to_string(bytes) + " bytes do not fit: " + describe(address);
    }
    return false;
  }
  if (why != nullptr) *why = describe(address);
  return false;
}

std::string describe(const void* address) { return Blocks::instance().describe(number(address)); }

cudaError_t beginFree(void* pointer) {
  const std::shared_ptr<LiveBlock> live = Blocks::instance().at(number(pointer));
  if (live == nullptr || live->block.base != number(pointer) || live->block.kind != Kind::Device) return cudaErrorInvalidValue;
  return live->freeing.exchange(true) ? cudaErrorInvalidValue : cudaSuccess;
}

void endFree(void* pointer) { Blocks::instance().remove(number(pointer), "cudaFreeAsync"); }

cudaError_t registerHost(void* pointer, size_t bytes) {
  return Blocks::instance().add(
      makeBlock(Block{number(pointer), bytes, device::current(), Kind::Registered, 0, false, 0}, allocator(Kind::Registered)));
}

namespace {

// Ends a block of memory that is the caller's. `unknown` answers for an address that no block holds.
cudaError_t forget(void* pointer, Kind kind, cudaError_t unknown) {
  const std::shared_ptr<LiveBlock> live = Blocks::instance().at(number(pointer));
  if (live == nullptr) return unknown;
  if (live->block.base != number(pointer) || live->block.kind != kind) return cudaErrorInvalidValue;
  EMU_TRY(drainDevice(live->block.device));
  Blocks::instance().remove(number(pointer), releaser(kind));
  return cudaSuccess;
}

}  // namespace

cudaError_t unregisterHost(void* pointer) { return forget(pointer, Kind::Registered, cudaErrorHostMemoryNotRegistered); }

cudaError_t declare(void* pointer, size_t bytes, int device, uint64_t devices) {
  const Block block{number(pointer), bytes, device, Kind::Declared, 0, false, devices};
  return Blocks::instance().add(makeBlock(block, allocator(Kind::Declared)));
}

cudaError_t withdraw(void* pointer) { return forget(pointer, Kind::Declared, cudaErrorInvalidValue); }

Usage usage(int device) { return Blocks::instance().usage(device); }

void resetPooledPeak(int device) { Blocks::instance().resetPooledPeak(device); }

void forgetDevice(int device) {
  for (const std::shared_ptr<LiveBlock>& live : Blocks::instance().ofDevice(device)) {
    Blocks::instance().remove(live->block.base, "cudaDeviceReset");
  }
  Blocks::instance().resetPeak(device);
}

}  // namespace emu::memory
