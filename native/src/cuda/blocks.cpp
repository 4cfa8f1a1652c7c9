#include "cuda/blocks.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <mutex>

#include "base/thread.h"
#include "base/wait.h"

namespace emu::memory {

namespace {

// How far beyond the end of a block an address is still told as an overrun of that block.
constexpr uintptr_t kNear = uintptr_t{1} << 20;

// In the order of Kind.
constexpr KindTraits kKinds[] = {{"device memory", "cudaMalloc", "cudaFree"},
                                 {"pinned host memory", "cudaMallocHost", "cudaFreeHost"},
                                 {"registered host memory", "cudaHostRegister", "cudaHostUnregister"},
                                 {"symmetric device memory", "ncclMemAlloc", "ncclMemFree"},
                                 {"declared device memory", "a declaration", "a withdrawal"}};

std::string hex(uintptr_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%" PRIxPTR, address);
  return text;
}

std::string place(uintptr_t address, const Block& block) {
  std::string text = hex(address) + " is ";
  if (address < block.base + block.bytes) {
    if (address != block.base) text += std::to_string(address - block.base) + " bytes into ";
  } else {
    text += std::to_string(address - block.base - block.bytes) + " bytes beyond the end of ";
  }
  if (address != block.base) text += hex(block.base) + ", ";
  return text + std::to_string(block.bytes) + " bytes of " + traitsOf(block.kind).name +
         " of device " + std::to_string(block.device);
}

// The block that holds `address`, or ends shortly below it; NULL if there is none.
template <class Blocks>
typename Blocks::mapped_type nearest(const Blocks& all, uintptr_t address, uintptr_t reach) {
  const auto next = all.upper_bound(address);
  if (next == all.begin()) return nullptr;
  const auto& before = std::prev(next)->second;
  return address - before->block.base < before->block.bytes + reach ? before : nullptr;
}

}  // namespace

const KindTraits& traitsOf(Kind kind) { return kKinds[static_cast<size_t>(kind)]; }

Mark Mark::by(const char* function) { return Mark{function, thread::id(), now()}; }

std::string Mark::text() const {
  const double ms = static_cast<double>(now() - time) / 1e6;
  char text[128];
  std::snprintf(text, sizeof text, "%.3f ms ago by %s in thread %d", ms, function, thread);
  return text;
}

cudaError_t Blocks::add(const std::shared_ptr<LiveBlock>& added) {
  const Block& block = added->block;
  const std::lock_guard<std::shared_mutex> lock(mutex_);
  if (!onHost(block.kind)) {
    const uint64_t total = options::deviceMemory();
    const uint64_t used = usage_[block.device].deviceBytes;
    if (used > total || block.bytes > total - used) return cudaErrorMemoryAllocation;
  }
  if (added->range == nullptr) {
    std::shared_ptr<LiveBlock> other = holding(block.base);
    const auto next = live_.lower_bound(block.base);
    if (other == nullptr && next != live_.end() && next->first < block.base + block.bytes) other = next->second;
    if (other != nullptr) {
      return other->block.kind == Kind::Registered ? cudaErrorHostMemoryAlreadyRegistered : cudaErrorInvalidValue;
    }
  }
  live_[block.base] = added;
  account(block, 1);
  return cudaSuccess;
}

std::shared_ptr<LiveBlock> Blocks::remove(uintptr_t base, const char* function) {
  const std::lock_guard<std::shared_mutex> lock(mutex_);
  const auto found = live_.find(base);
  if (found == live_.end()) return nullptr;
  std::shared_ptr<LiveBlock> block = std::move(found->second);
  live_.erase(found);
  account(block->block, -1);
  remember(*block, function);
  return block;
}

std::shared_ptr<LiveBlock> Blocks::at(uintptr_t address) const {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  return holding(address);
}

std::shared_ptr<LiveBlock> Blocks::holding(uintptr_t address) const {
  return nearest(live_, address, 0);
}

std::string Blocks::describe(uintptr_t address) const {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  for (const uintptr_t reach : {uintptr_t{0}, kNear}) {
    if (const auto live = nearest(live_, address, reach)) {
      return place(address, live->block) + ", allocated " + live->allocated.text() + ", alive" +
             (live->freeing ? " but being freed by cudaFreeAsync" : "");
    }
    if (const auto freed = nearest(freed_, address, reach)) {
      return place(address, freed->block) + ", allocated " + freed->allocated.text() + ", freed " + freed->freed.text();
    }
  }
  if (address == 0) return "NULL";
  return hex(address) + " belongs to no allocation that is or lately was known";
}

void Blocks::remember(const LiveBlock& live, const char* function) {
  const uintptr_t base = live.block.base;
  auto freed = std::make_shared<FreedBlock>(FreedBlock{live.block, live.allocated, Mark::by(function)});
  if (freed_.insert_or_assign(base, std::move(freed)).second) freedOrder_.push_back(base);
  if (freedOrder_.size() > kHistory) {
    freed_.erase(freedOrder_.front());
    freedOrder_.pop_front();
  }
}

void Blocks::account(const Block& block, int64_t sign) {
  Usage& usage = usage_[block.device];
  const bool host = onHost(block.kind);
  const auto change = static_cast<uint64_t>(sign);  // unsigned numbers wrap around
  (host ? usage.pinnedAllocations : usage.deviceAllocations) += change;
  (host ? usage.pinnedBytes : usage.deviceBytes) += change * block.bytes;
  if (block.pooled) usage.pooledBytes += change * block.bytes;
  usage.peakDeviceBytes = std::max(usage.peakDeviceBytes, usage.deviceBytes);
  usage.peakPooledBytes = std::max(usage.peakPooledBytes, usage.pooledBytes);
}

Usage Blocks::usage(int device) const {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  Usage sum;
  for (int i = 0; i < options::kMostDevices; ++i) {
    if (device >= 0 && device != i) continue;
    sum.deviceAllocations += usage_[i].deviceAllocations;
    sum.deviceBytes += usage_[i].deviceBytes;
    sum.peakDeviceBytes += usage_[i].peakDeviceBytes;
    sum.pinnedAllocations += usage_[i].pinnedAllocations;
    sum.pinnedBytes += usage_[i].pinnedBytes;
    sum.pooledBytes += usage_[i].pooledBytes;
    sum.peakPooledBytes += usage_[i].peakPooledBytes;
  }
  return sum;
}

std::deque<std::shared_ptr<LiveBlock>> Blocks::ofDevice(int device) const {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  std::deque<std::shared_ptr<LiveBlock>> result;
  for (const auto& entry : live_) {
    if (entry.second->block.device == device) result.push_back(entry.second);
  }
  return result;
}

void Blocks::resetPeak(int device) {
  const std::lock_guard<std::shared_mutex> lock(mutex_);
  usage_[device].peakDeviceBytes = usage_[device].deviceBytes;
}

void Blocks::resetPooledPeak(int device) {
  const std::lock_guard<std::shared_mutex> lock(mutex_);
  usage_[device].peakPooledBytes = usage_[device].pooledBytes;
}

}  // namespace emu::memory
