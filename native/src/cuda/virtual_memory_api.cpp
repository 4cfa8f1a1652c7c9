// cuMem*: memory and addresses apart, as the pools of programs have them (expandable segments, elastic buffers).
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "abi/cuda_driver.h"
#include "base/options.h"
#include "cuda/entry.h"
#include "cuda/memory.h"

namespace emu {

namespace {

constexpr size_t kGranularity = size_t{2} << 20;

// What cuMemCreate makes: pages without an address. They go with the handle and the last mapping.
struct Pages {
  Pages(int fd, size_t size, int owner) : file(fd), bytes(size), device(owner) {}
  ~Pages() { close(file); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  const int file;
  const size_t bytes;
  const int device;
};

struct Mapping {
  std::shared_ptr<Pages> pages;
  bool accessible = false;
};

struct Space {
  std::mutex mutex;
  std::map<CUmemGenericAllocationHandle, std::shared_ptr<Pages>> handles;
  CUmemGenericAllocationHandle lastHandle = 0;
  std::map<uintptr_t, size_t> reservations;
  std::map<uintptr_t, Mapping> mappings;
};

// How every one of these functions begins and ends: one at a time. `call` is the space.
template <class Describe, class Body>
CUresult withSpace(Function& function, Describe&& describe, Body&& body) {
  return api<CUresult>(function, std::forward<Describe>(describe), [&] {
    Space& all = neverDestroyed<Space>();
    const std::lock_guard<std::mutex> lock(all.mutex);
    // These errors have the numbers of the runtime's.
    return static_cast<CUresult>(resultOf([&] { return body(all); }));
  });
}

void* pointer(uintptr_t address) { return reinterpret_cast<void*>(address); }

bool whole(size_t bytes) { return bytes != 0 && bytes % kGranularity == 0; }

bool onDevice(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE && device::exists(location.id);
}

void reserve(uintptr_t at, size_t bytes) {
  mmap(pointer(at), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

// Whether [at, at + bytes) lies in one reservation.
bool reserved(const Space& all, uintptr_t at, size_t bytes) {
  auto next = all.reservations.upper_bound(at);
  if (next == all.reservations.begin()) return false;
  --next;
  return bytes <= next->second && at - next->first <= next->second - bytes;
}

// The mappings that make up [at, at + bytes), which must be some, none of them reaching beyond.
using Found = std::pair<std::map<uintptr_t, Mapping>::iterator, std::map<uintptr_t, Mapping>::iterator>;
Found mappingsOf(Space& all, uintptr_t at, size_t bytes) {
  const auto first = all.mappings.find(at);
  auto last = first;
  size_t covered = 0;
  while (last != all.mappings.end() && covered < bytes && last->first == at + covered) {
    covered += (last++)->second.pages->bytes;
  }
  require(bytes != 0 && covered == bytes);
  return {first, last};
}

void granularity(size_t* out, const CUmemAllocationProp* properties) {
  require(given(out) && given(properties, 1));
  require(onDevice(properties->location), cudaErrorInvalidDevice);
  *out = kGranularity;
}

void create(Space& all, CUmemGenericAllocationHandle* out, size_t bytes, const CUmemAllocationProp* properties,
            uint64_t flags) {
  require(given(out) && given(properties, 1) && flags == 0 && whole(bytes));
  require(properties->type == CU_MEM_ALLOCATION_TYPE_PINNED);
  const int device = properties->location.id;
  require(onDevice(properties->location), cudaErrorInvalidDevice);
  const uint64_t used = memory::usage(device).deviceBytes;
  const uint64_t total = options::deviceMemory();
  require(used <= total && bytes <= total - used, cudaErrorMemoryAllocation);
  const int file = memfd_create("nccl4j-memory", MFD_CLOEXEC);
  require(file >= 0, cudaErrorMemoryAllocation);
  const auto pages = std::make_shared<Pages>(file, bytes, device);
  require(ftruncate(file, static_cast<off_t>(bytes)) == 0, cudaErrorMemoryAllocation);
  *out = ++all.lastHandle;
  all.handles.emplace(*out, pages);
}

// A wished address is only a hint, which is not followed.
void reserveAddress(Space& all, CUdeviceptr* out, size_t bytes, size_t alignment, uint64_t flags) {
  require(given(out) && whole(bytes) && flags == 0);
  const size_t step = std::max(alignment, kGranularity);
  require((step & (step - 1)) == 0 && step <= (size_t{1} << 40) && bytes <= (size_t{1} << 46));
  void* taken = mmap(nullptr, bytes + step, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(taken != MAP_FAILED, cudaErrorMemoryAllocation);
  const auto start = reinterpret_cast<uintptr_t>(taken);
  const uintptr_t base = (start + step - 1) / step * step;
  if (base != start) munmap(taken, base - start);
  if (base + bytes != start + bytes + step) munmap(pointer(base + bytes), start + step - base);
  all.reservations[base] = bytes;
  *out = base;
}

void freeAddress(Space& all, CUdeviceptr at, size_t bytes) {
  const auto found = all.reservations.find(at);
  require(found != all.reservations.end() && found->second == bytes);
  const auto mapping = all.mappings.lower_bound(at);
  require(mapping == all.mappings.end() || mapping->first >= at + bytes);
  all.reservations.erase(found);
  munmap(pointer(at), bytes);
}

void map(Space& all, CUdeviceptr at, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, uint64_t flags) {
  const auto found = all.handles.find(handle);
  require(found != all.handles.end() && flags == 0 && offset == 0 && bytes == found->second->bytes);
  require(at % kGranularity == 0 && reserved(all, at, bytes));
  const auto next = all.mappings.lower_bound(at);
  require(next == all.mappings.end() || next->first >= at + bytes);
  if (next != all.mappings.begin()) {
    const auto before = std::prev(next);
    require(before->first + before->second.pages->bytes <= at);
  }
  all.mappings[at] = Mapping{found->second, false};
}

// Ends the access to one mapping, once queued work of the device has run.
void closeMapping(uintptr_t at, Mapping& mapping) {
  if (!mapping.accessible) return;
  memory::withdraw(pointer(at));
  reserve(at, mapping.pages->bytes);
  mapping.accessible = false;
}

void unmap(Space& all, CUdeviceptr at, size_t bytes) {
  const Found found = mappingsOf(all, at, bytes);
  for (auto mapping = found.first; mapping != found.second; ++mapping) closeMapping(mapping->first, mapping->second);
  all.mappings.erase(found.first, found.second);
}

void openMapping(uintptr_t at, Mapping& mapping, uint64_t devices) {
  const Pages& pages = *mapping.pages;
  closeMapping(at, mapping);
  if (devices == 0) return;
  void* opened = mmap(pointer(at), pages.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, pages.file, 0);
  require(opened != MAP_FAILED, cudaErrorMemoryAllocation);
  mapping.accessible = memory::declare(opened, pages.bytes, pages.device, devices) == cudaSuccess;
  require(mapping.accessible, cudaErrorMemoryAllocation);
}

void setAccess(Space& all, CUdeviceptr at, size_t bytes, const CUmemAccessDesc* access, size_t count) {
  require(count != 0 && given(access, count));
  uint64_t devices = 0;
  for (size_t i = 0; i < count; ++i) {
    require(onDevice(access[i].location), cudaErrorInvalidDevice);
    if (access[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE) devices |= uint64_t{1} << access[i].location.id;
  }
  const Found found = mappingsOf(all, at, bytes);
  for (auto mapping = found.first; mapping != found.second; ++mapping) {
    openMapping(mapping->first, mapping->second, devices);
  }
}

}  // namespace

#define EMU_CU(name, parameters, logged, ...) EMU_FUNCTION(CUresult, name, parameters, withSpace, logged, __VA_ARGS__)

EMU_CU(cuMemGetAllocationGranularity,
       (size_t* granularityOut, const CUmemAllocationProp* prop, CUmemAllocationGranularity_flags option),
       (prop, option), granularity(granularityOut, prop))

EMU_CU(cuMemCreate,
       (CUmemGenericAllocationHandle* handle, size_t size, const CUmemAllocationProp* prop, unsigned long long flags),
       (size, prop, flags), create(call, handle, size, prop, flags))

EMU_CU(cuMemRelease, (CUmemGenericAllocationHandle handle), (handle), require(call.handles.erase(handle) != 0))

EMU_CU(cuMemAddressReserve,
       (CUdeviceptr* ptr, size_t size, size_t alignment, CUdeviceptr addr, unsigned long long flags),
       (size, alignment, pointer(addr), flags), reserveAddress(call, ptr, size, alignment, flags))

EMU_CU(cuMemAddressFree, (CUdeviceptr ptr, size_t size), (pointer(ptr), size), freeAddress(call, ptr, size))

EMU_CU(cuMemMap,
       (CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags),
       (pointer(ptr), size, offset, handle, flags), map(call, ptr, size, offset, handle, flags))

EMU_CU(cuMemUnmap, (CUdeviceptr ptr, size_t size), (pointer(ptr), size), unmap(call, ptr, size))

EMU_CU(cuMemSetAccess, (CUdeviceptr ptr, size_t size, const CUmemAccessDesc* desc, size_t count),
       (pointer(ptr), size, desc, count), setAccess(call, ptr, size, desc, count))

}  // namespace emu
