// cudaMemcpy and cudaMemset in all their forms. What they would do with 0 bytes, no capture and no failed device
// forbids.
#include <cstring>
#include <vector>

#include "cuda/address_space.h"
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/memory.h"
#include "cuda/streams.h"

namespace emu {

namespace {

// What a copy knows of one of its two addresses at the call.
struct Side {
  bool checked = false;   // emulated or page-locked memory, checked when the copy runs
  bool pageable = false;  // plain host memory
  int device = -1;        // of device memory
};

bool fits(const memory::Block& block, const void* address, size_t bytes) {
  return bytes <= block.base + block.bytes - reinterpret_cast<uintptr_t>(address);
}

// Fails for an address that cannot be what the direction says, and for memory that is too small. What was device memory
// once and is freed passes: it is found when the copy runs. The device reaches what the direction says is the host's
// wherever that is.
Side classify(const void* address, size_t bytes, bool onDevice) {
  memory::Block block;
  Side side;
  const bool known = memory::find(address, &block);
  side.checked = known || AddressSpace::instance().contains(address);
  side.pageable = !side.checked;
  if (known && !memory::onHost(block.kind)) side.device = block.device;
  require(address != nullptr && (!known || fits(block, address, bytes)));
  require(!onDevice || !side.pageable);
  return side;
}

struct Copy {
  const char* name;
  void* to;
  const void* from;
  size_t bytes;
  Side toSide;
  Side fromSide;
};

// Whether the host memory that CUDA knows nothing of is there.
bool hostMemoryThere(const Copy& copy) {
  return (!copy.toSide.pageable || host::writable(copy.to, copy.bytes)) &&
         (!copy.fromSide.pageable || host::readable(copy.from, copy.bytes));
}

Copy prepare(const char* name, void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  Copy copy{name, to, from, bytes, {}, {}};
  if (bytes == 0) return copy;
  require(kind >= cudaMemcpyHostToHost && kind <= cudaMemcpyDefault, cudaErrorInvalidMemcpyDirection);
  const bool onDevices = kind == cudaMemcpyDeviceToDevice;
  copy.toSide = classify(to, bytes, onDevices || kind == cudaMemcpyHostToDevice);
  copy.fromSide = classify(from, bytes, onDevices || kind == cudaMemcpyDeviceToHost);
  require(hostMemoryThere(copy));
  return copy;
}

void runCopy(const Copy& copy, const void* from, WorkContext& context) {
  if (copy.toSide.checked) context.touchAnywhere("destination", copy.to, copy.bytes);
  if (copy.fromSide.checked) context.touchAnywhere("source", copy.from, copy.bytes);
  // In a graph, host memory of the capture's time may be gone.
  if (context.fromGraph && !hostMemoryThere(copy)) context.fail(cudaErrorIllegalAddress, "host memory is gone");
  std::memmove(copy.to, from, copy.bytes);
}

Work makeWork(const Copy& copy) {
  Work work(copy.name, WorkKind::Memcpy, [copy](WorkContext& context) { runCopy(copy, copy.from, context); });
  work.places = {copy.toSide.device, copy.fromSide.device};
  return work;
}

// The caller may change pageable memory as soon as the call returns: the copy runs from a snapshot.
Work makeStagedWork(const Copy& copy) {
  const auto* first = static_cast<const unsigned char*>(copy.from);
  return Work(copy.name, WorkKind::Memcpy,
              [copy, staged = std::vector<unsigned char>(first, first + copy.bytes)](WorkContext& context) {
                runCopy(copy, staged.data(), context);
              });
}

// Puts the copy on the stream. The host waits if it must: always for a synchronous call unless both sides are device
// memory, and where the result lands in pageable memory.
void enqueue(const Copy& copy, cudaStream_t handle, bool synchronous) {
  if (copy.bytes == 0) return;
  const auto stream = streams::getForLaunch(handle);
  const bool eager = !stream->capturing.load(std::memory_order_acquire);
  const bool stage = eager && !synchronous && copy.fromSide.pageable;
  const Submitted submitted = submitOn(stream, stage ? makeStagedWork(copy) : makeWork(copy));
  if (submitted.captured || !(synchronous || copy.toSide.pageable)) return;
  streams::hostWait(submitted.point);
  check(device::sticky(stream->device()));
}

// A synchronous call uses the legacy default stream, whatever its other arguments are worth.
void forbidSynchronous(size_t bytes) {
  if (bytes != 0) capture::forbidLegacy(*streams::legacy(device::current()));
}

// Cannot be captured.
void copyPeer(void* to, int toDevice, const void* from, int fromDevice, size_t bytes, cudaStream_t handle) {
  require(device::exists(toDevice) && device::exists(fromDevice), cudaErrorInvalidDevice);
  const Copy copy = prepare("cudaMemcpyPeerAsync", to, from, bytes, cudaMemcpyDeviceToDevice);
  memory::Block block;
  require(!memory::find(to, &block) || block.device == toDevice);
  require(!memory::find(from, &block) || block.device == fromDevice);
  const auto stream = streams::getForLaunch(handle);
  if (bytes == 0) return;
  capture::forbidCapturing(*stream);
  enqueue(copy, handle, false);
}

cudaError_t set(const char* name, void* to, int value, size_t bytes, cudaStream_t handle) {
  if (bytes == 0) return cudaSuccess;
  // A capture takes any address: it is found when the graph runs.
  if (!isCapturing(handle)) {
    memory::Block block;
    const bool known = memory::find(to, &block);
    require(known ? fits(block, to, bytes) : AddressSpace::instance().contains(to));
  }
  return submit(handle, Work(name, WorkKind::Memset, [to, value, bytes](WorkContext& context) {
                  context.touchAnywhere("destination", to, bytes);
                  std::memset(to, value, bytes);
                }));
}

void copyNow(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  forbidSynchronous(bytes);
  enqueue(prepare("cudaMemcpy", to, from, bytes, kind), cudaStreamLegacy, true);
}

cudaError_t setNow(void* to, int value, size_t bytes) {
  forbidSynchronous(bytes);
  return set("cudaMemset", to, value, bytes, cudaStreamLegacy);
}

}  // namespace

EMU_CUDA(OwnDevices, cudaMemcpy, (void* dst, const void* src, size_t count, cudaMemcpyKind kind),
         (dst, src, count, kind), copyNow(dst, src, count, kind))

EMU_CUDA(OwnDevices, cudaMemcpyAsync,
         (void* dst, const void* src, size_t count, cudaMemcpyKind kind, cudaStream_t stream),
         (dst, src, count, kind, stream), enqueue(prepare(call.name, dst, src, count, kind), stream, false))

EMU_CUDA(OwnDevices, cudaMemcpyPeerAsync,
         (void* dst, int dstDevice, const void* src, int srcDevice, size_t count, cudaStream_t stream),
         (dst, dstDevice, src, srcDevice, count, stream), copyPeer(dst, dstDevice, src, srcDevice, count, stream))

EMU_CUDA(OwnDevices, cudaMemset, (void* devPtr, int value, size_t count), (devPtr, value, count),
         setNow(devPtr, value, count))

EMU_CUDA(OwnDevices, cudaMemsetAsync, (void* devPtr, int value, size_t count, cudaStream_t stream),
         (devPtr, value, count, stream), set("cudaMemsetAsync", devPtr, value, count, stream))

}  // namespace emu
