// cudaMallocAsync, cudaFreeAsync and the memory pool of each device.
//
// A pool here keeps nothing back: what is freed is given back at once, so what is reserved is what is used, in whole
// chunks.
#include <atomic>
#include <cstring>

#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/graph_memory.h"
#include "cuda/memory.h"
#include "cuda/streams.h"

namespace emu {

namespace {

constexpr uintptr_t kPoolTag = uintptr_t{0x56} << 40;
constexpr uintptr_t kPoolStep = 64;
constexpr uint64_t kChunk = uint64_t{32} << 20;  // what a pool reserves memory in

// Settings that are kept and told; they change nothing.
struct PoolSettings {
  std::atomic<uint64_t> releaseThreshold{0};
  std::atomic<int> reuse[3] = {{1}, {1}, {1}};
};

PoolSettings& settings(int device) { return device::perDevice<PoolSettings>(device); }

cudaMemPool_t poolOf(int device) {
  return reinterpret_cast<cudaMemPool_t>(kPoolTag + kPoolStep * static_cast<uintptr_t>(device + 1));
}

// -1 if it is no pool.
int deviceOf(cudaMemPool_t pool) {
  for (int device = 0; device < device::count(); ++device) {
    if (poolOf(device) == pool) return device;
  }
  return -1;
}

uint64_t wholeChunks(uint64_t bytes) { return (bytes + kChunk - 1) / kChunk * kChunk; }

bool isReuse(cudaMemPoolAttr attr) {
  return attr >= cudaMemPoolReuseFollowEventDependencies && attr <= cudaMemPoolReuseAllowInternalDependencies;
}

void getAttribute(cudaMemPool_t pool, cudaMemPoolAttr attr, void* value) {
  capture::forbidUnsafe();
  const int device = deviceOf(pool);
  require(device >= 0 && writable(value, isReuse(attr) ? sizeof(int) : sizeof(uint64_t)));
  if (isReuse(attr)) {
    const int flag = settings(device).reuse[attr - 1].load();
    std::memcpy(value, &flag, sizeof flag);
    return;
  }
  const memory::Usage usage = memory::usage(device);
  uint64_t number = 0;
  switch (attr) {
    case cudaMemPoolAttrReleaseThreshold: number = settings(device).releaseThreshold.load(); break;
    case cudaMemPoolAttrReservedMemCurrent: number = wholeChunks(usage.pooledBytes); break;
    case cudaMemPoolAttrUsedMemCurrent: number = usage.pooledBytes; break;
    case cudaMemPoolAttrReservedMemHigh: number = wholeChunks(usage.peakPooledBytes); break;
    case cudaMemPoolAttrUsedMemHigh: number = usage.peakPooledBytes; break;
    default: fail(cudaErrorInvalidValue);
  }
  std::memcpy(value, &number, sizeof number);
}

void setAttribute(cudaMemPool_t pool, cudaMemPoolAttr attr, const void* value) {
  const int device = deviceOf(pool);
  require(device >= 0 && readable(value, isReuse(attr) ? sizeof(int) : sizeof(uint64_t)));
  if (isReuse(attr)) {
    int flag = 0;
    std::memcpy(&flag, value, sizeof flag);
    settings(device).reuse[attr - 1] = flag != 0 ? 1 : 0;
    return;
  }
  uint64_t number = 0;
  std::memcpy(&number, value, sizeof number);
  switch (attr) {
    case cudaMemPoolAttrReleaseThreshold: settings(device).releaseThreshold = number; break;
    case cudaMemPoolAttrReservedMemHigh:
    case cudaMemPoolAttrUsedMemHigh:
      require(number == 0);  // the peak can only be started anew
      memory::resetPooledPeak(device);
      break;
    default: fail(cudaErrorInvalidValue);
  }
}

// In a capture: an address of the graph's own, and a node that brings it to life.
cudaError_t captureAllocation(const std::shared_ptr<Stream>& stream, size_t bytes, void** out) {
  const auto memory = GraphMemory::reserve(bytes, stream->device());
  Work work("cudaMallocAsync", WorkKind::MemAlloc, [memory](WorkContext& context) {
    const cudaError_t allocated = memory->allocate();
    if (allocated != cudaSuccess) context.fail(allocated, "the graph's memory could not be allocated");
  });
  work.memory = memory;
  // Another thread may have ended the capture meanwhile.
  if (!capture::record(*stream, &work)) return memory::allocatePooled(bytes, stream->device(), out);
  *out = memory->address();
  return cudaSuccess;
}

cudaError_t allocate(void** out, size_t bytes, cudaStream_t handle) {
  require(given(out));
  *out = nullptr;
  const auto stream = streams::getForLaunch(handle);
  if (stream->capturing.load(std::memory_order_acquire)) {
    return bytes == 0 ? cudaSuccess : captureAllocation(stream, bytes, out);
  }
  capture::forbidUnsafe(*stream);
  return memory::allocatePooled(bytes, stream->device(), out);
}

void freeGraphMemory(const std::shared_ptr<Stream>& stream, const std::shared_ptr<GraphMemory>& memory,
                     bool capturing) {
  require(capturing || memory->allocated.exchange(false));
  Work work("cudaFreeAsync", WorkKind::MemFree, [memory](WorkContext&) { memory->free("cudaFreeAsync"); });
  work.memory = memory;
  submitOn(stream, std::move(work));
}

void release(void* pointer, cudaStream_t handle) {
  const auto stream = streams::getForLaunch(handle);
  const bool capturing = stream->capturing.load(std::memory_order_acquire);
  if (!capturing) capture::forbidUnsafe(*stream);
  if (pointer == nullptr) return;
  if (const auto memory = GraphMemory::at(pointer)) return freeGraphMemory(stream, memory, capturing);
  // A graph can only free what a graph allocates.
  require(!capturing);
  check(memory::beginFree(pointer));
  submitOn(stream, Work("cudaFreeAsync", WorkKind::MemFree, [pointer](WorkContext&) { memory::endFree(pointer); }));
}

void defaultPool(cudaMemPool_t* out, int device) {
  require(given(out));
  require(device::exists(device), cudaErrorInvalidDevice);
  *out = poolOf(device);
}

}  // namespace

EMU_CUDA(Device, cudaMallocAsync, (void** ptr, size_t size, cudaStream_t stream), (made(ptr), size, stream),
         allocate(ptr, size, stream))

EMU_CUDA(Device, cudaFreeAsync, (void* ptr, cudaStream_t stream), (ptr, stream), release(ptr, stream))

EMU_CUDA(NoHostFunction, cudaDeviceGetDefaultMemPool, (cudaMemPool_t* memPool, int device), (device),
         defaultPool(memPool, device))

EMU_CUDA(OwnDevices, cudaMemPoolGetAttribute, (cudaMemPool_t memPool, cudaMemPoolAttr attr, void* value),
         (memPool, attr), getAttribute(memPool, attr, value))

EMU_CUDA(NoCapture, cudaMemPoolSetAttribute, (cudaMemPool_t memPool, cudaMemPoolAttr attr, void* value),
         (memPool, attr), setAttribute(memPool, attr, value))

EMU_CUDA(NoCapture, cudaMemPoolTrimTo, (cudaMemPool_t memPool, size_t minBytesToKeep), (memPool, minBytesToKeep),
         require(deviceOf(memPool) >= 0))

}  // namespace emu
