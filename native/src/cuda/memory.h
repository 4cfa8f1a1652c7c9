// Emulated device memory and pinned host memory: lazily backed mappings whose addresses are not used again soon, so
// that a stale pointer is found and not silently served by a newer allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "abi/cuda_runtime.h"

namespace emu::memory {

enum class Kind { Device, Pinned, Registered, Symmetric /* ncclMemAlloc */, Declared /* device memory of others */ };

// Memory of the host that devices reach, not of a device.
constexpr bool onHost(Kind kind) { return kind == Kind::Pinned || kind == Kind::Registered; }

struct Block {
  uintptr_t base = 0;
  size_t bytes = 0;
  int device = -1;
  Kind kind = Kind::Device;
  bool pooled = false;  // made by cudaMallocAsync
  uint64_t devices = 0; // bit d: device d has access, too
};

// On the calling thread's current device. 0 bytes give NULL and success.
cudaError_t allocate(size_t bytes, Kind kind, void** out);
// Waits for queued work of the device, as the real call does, then frees. NULL is success; the wrong kind or an address
// that is not the start of a live block is cudaErrorInvalidValue.
cudaError_t release(void* pointer, Kind kind);

// The live block that holds `address`.
bool find(const void* address, Block* block);

// Whether work on `device` may touch all of [address, address + bytes): one live block of that device, or pinned
// memory. Zero bytes are always accessible. On false, `why` tells what is or was there.
bool accessible(const void* address, size_t bytes, int device, std::string* why);

// Likewise, and keeps the block's pages in place until the pin is dropped, even if the block is freed meanwhile: so
// that a program that frees what runs elsewhere gets an error and not a crash. device -1 = of any device, as for
// copies.
using Pin = std::shared_ptr<const void>;
bool pin(const void* address, size_t bytes, int device, std::string* why, Pin* pin);

// "0x7f.. (device 2, 4096 B, freed 3 ms ago ...)": what is or was at an address.
std::string describe(const void* address);

// ---- stream-ordered memory ----

// Device memory of the device's pool; usable at once, so also in stream order.
cudaError_t allocatePooled(size_t bytes, int device, void** out);

// Marks a live device block as being freed in stream order: a second attempt is cudaErrorInvalidValue.
cudaError_t beginFree(void* pointer);
// Frees what beginFree marked, without waiting for anything.
void endFree(void* pointer);

// ---- host memory of the caller ----

cudaError_t registerHost(void* pointer, size_t bytes);
cudaError_t unregisterHost(void* pointer);

// ---- device memory that somebody else has mapped ----

// `devices`: bit d for each other device that may touch it, whatever else is enabled.
cudaError_t declare(void* pointer, size_t bytes, int device, uint64_t devices = 0);
cudaError_t withdraw(void* pointer);  // waits for queued work of the device

// ---- accounts ----

struct Usage {
  uint64_t deviceAllocations = 0;
  uint64_t deviceBytes = 0;
  uint64_t peakDeviceBytes = 0;
  uint64_t pinnedAllocations = 0;
  uint64_t pinnedBytes = 0;
  uint64_t pooledBytes = 0;      // part of deviceBytes
  uint64_t peakPooledBytes = 0;
};
Usage usage(int device);          // -1 = all
void resetPooledPeak(int device);
void forgetDevice(int device);    // frees everything of the device; its work has ended

}  // namespace emu::memory
