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
#include "cuda/submit.h"

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

cudaError_t getAttribute(cudaMemPool_t pool, cudaMemPoolAttr attr, void* value) {
  EMU_TRY(capture::forbidUnsafe());
  const int device = deviceOf(pool);
  if (device < 0 || !writable(value, isReuse(attr) ? sizeof(int) : sizeof(uint64_t))) return cudaErrorInvalidValue;
  if (isReuse(attr)) {
    const int flag = settings(device).reuse[attr - 1].load();
    std::memcpy(value, &flag, sizeof flag);
    return cudaSuccess;
  }
  const memory::Usage usage = memory::usage(device);
  uint64_t number = 0;
  switch (attr) {
    case cudaMemPoolAttrReleaseThreshold: number = settings(device).releaseThreshold.load(); break;
    case cudaMemPoolAttrReservedMemCurrent: number = wholeChunks(usage.pooledBytes); break;
    case cudaMemPoolAttrUsedMemCurrent: number = usage.pooledBytes; break;
    case cudaMemPoolAttrReservedMemHigh: number = wholeChunks(usage.peakPooledBytes); break;
    case cudaMemPoolAttrUsedMemHigh: number = usage.peakPooledBytes; break;
    default: return cudaErrorInvalidValue;
  }
  std::memcpy(value, &number, sizeof number);
  return cudaSuccess;
}

cudaError_t setAttribute(cudaMemPool_t pool, cudaMemPoolAttr attr, const void* value) {
  const int device = deviceOf(pool);
  if (device < 0 || !readable(value, isReuse(attr) ? sizeof(int) : sizeof(uint64_t))) return cudaErrorInvalidValue;
  if (isReuse(attr)) {
    int flag = 0;
    std::memcpy(&flag, value, sizeof flag);
    settings(device).reuse[attr - 1] = flag != 0 ? 1 : 0;
    return cudaSuccess;
  }
  uint64_t number = 0;
  std::memcpy(&number, value, sizeof number);
  switch (attr) {
    case cudaMemPoolAttrReleaseThreshold: settings(device).releaseThreshold = number; return cudaSuccess;
    case cudaMemPoolAttrReservedMemHigh:
    case cudaMemPoolAttrUsedMemHigh:
      if (number != 0) return cudaErrorInvalidValue;  // the peak can only be started anew
      memory::resetPooledPeak(device);
      return cudaSuccess;
    default: return cudaErrorInvalidValue;
  }
}

// In a capture: an address of the graph's own, and a node that brings it to life.
cudaError_t captureAllocation(const std::shared_ptr<Stream>& stream, size_t bytes, void** out) {
  std::shared_ptr<GraphMemory> memory;
  EMU_TRY(GraphMemory::reserve(bytes, stream->device(), &memory));
  Work work("cudaMallocAsync", WorkKind::MemAlloc, [memory](WorkContext& context) {
    const cudaError_t allocated = memory->allocate();
    return allocated == cudaSuccess ? allocated : context.fail(allocated, "the graph's memory could not be allocated");
  });
  work.memory = memory;
  bool captured = false;
  EMU_TRY(capture::record(*stream, &work, &captured));
  // Another thread may have ended the capture meanwhile.
  if (!captured) return memory::allocatePooled(bytes, stream->device(), out);
  *out = memory->address();
  return cudaSuccess;
}

cudaError_t allocate(void** out, size_t bytes, cudaStream_t handle) {
  if (!given(out)) return cudaErrorInvalidValue;
  *out = nullptr;
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolveForLaunch(handle, &stream));
  if (stream->capturing.load(std::memory_order_acquire)) {
    return bytes == 0 ? cudaSuccess : captureAllocation(stream, bytes, out);
  }
  EMU_TRY(capture::forbidUnsafe(*stream));
  return memory::allocatePooled(bytes, stream->device(), out);
}

cudaError_t freeGraphMemory(const std::shared_ptr<Stream>& stream, const std::shared_ptr<GraphMemory>& memory, bool capturing) {
  if (!capturing && !memory->allocated.exchange(false)) return cudaErrorInvalidValue;
  Work work("cudaFreeAsync", WorkKind::MemFree, [memory](WorkContext&) {
    memory->free("cudaFreeAsync");
    return cudaSuccess;
  });
  work.memory = memory;
  return submitOn(stream, std::move(work));
}

cudaError_t release(void* pointer, cudaStream_t handle) {
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolveForLaunch(handle, &stream));
  const bool capturing = stream->capturing.load(std::memory_order_acquire);
  const cudaError_t allowed = capturing ? cudaSuccess : capture::forbidUnsafe(*stream);
  if (allowed != cudaSuccess || pointer == nullptr) return allowed;
  if (const std::shared_ptr<GraphMemory> memory = GraphMemory::at(pointer)) return freeGraphMemory(stream, memory, capturing);
  // A graph can only free what a graph allocates.
  if (capturing) return cudaErrorInvalidValue;
  EMU_TRY(memory::beginFree(pointer));
  Work work("cudaFreeAsync", WorkKind::MemFree, [pointer](WorkContext&) {
    memory::endFree(pointer);
    return cudaSuccess;
  });
  return submitOn(stream, std::move(work));
}

cudaError_t defaultPool(cudaMemPool_t* out, int device) {
  if (!given(out)) return cudaErrorInvalidValue;
  if (!device::exists(device)) return cudaErrorInvalidDevice;
  *out = poolOf(device);
  return cudaSuccess;
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
         deviceOf(memPool) >= 0 ? cudaSuccess : cudaErrorInvalidValue)

}  // namespace emu
