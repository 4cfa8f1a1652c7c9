// cudaMalloc, cudaFree, pinned and registered host memory, and questions about memory.
#include "base/export.h"
#include "base/host_access.h"
#include "base/options.h"
#include "cuda/entry.h"
#include "cuda/memory.h"

namespace emu {

namespace {

constexpr unsigned kHostAllocFlags = cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
constexpr unsigned kHostRegisterFlags =
    cudaHostRegisterPortable | cudaHostRegisterMapped | cudaHostRegisterIoMemory | cudaHostRegisterReadOnly;
constexpr int kNoDevice = -2;  // what cudaPointerGetAttributes tells of memory that CUDA does not know

cudaError_t attributes(cudaPointerAttributes* out, const void* pointer) {
  *out = cudaPointerAttributes{};
  memory::Block block;
  void* address = const_cast<void*>(pointer);
  if (!memory::find(pointer, &block)) {
    out->type = cudaMemoryTypeUnregistered;
    out->device = kNoDevice;
    out->hostPointer = address;
    return cudaSuccess;
  }
  const bool host = block.kind == memory::Kind::Pinned || block.kind == memory::Kind::Registered;
  out->type = host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  out->device = block.device;
  out->devicePointer = address;
  out->hostPointer = host ? address : nullptr;
  return cudaSuccess;
}

cudaError_t devicePointer(void** out, void* host, unsigned flags) {
  if (!given(out) || flags != 0) return cudaErrorInvalidValue;
  memory::Block block;
  const bool known = memory::find(host, &block);
  if (!known || (block.kind != memory::Kind::Pinned && block.kind != memory::Kind::Registered)) return cudaErrorInvalidValue;
  *out = host;
  return cudaSuccess;
}

void describeResult(Arguments& arguments, void** out, size_t bytes) {
  arguments.pointer("ptr", produced(out));
  arguments.number("size", static_cast<int64_t>(bytes));
}

// Nothing is asked for with 0 bytes, which no capture and no failed device forbids.
cudaError_t allocate(void** out, size_t bytes, memory::Kind kind) {
  if (!given(out)) return cudaErrorInvalidValue;
  const cudaError_t allowed = bytes != 0 ? admit(Needs::NoCapture) : cudaSuccess;
  return allowed != cudaSuccess ? allowed : memory::allocate(bytes, kind, out);
}

}  // namespace

EMU_API cudaError_t cudaMalloc(void** devPtr, size_t size) {
  static Function function("cudaMalloc");
  return entry(
      function, Needs::OwnDevices, [&](Arguments& a) { describeResult(a, devPtr, size); },
      [&] { return allocate(devPtr, size, memory::Kind::Device); });
}

EMU_API cudaError_t cudaFree(void* devPtr) {
  static Function function("cudaFree");
  return entry(
      function, Needs::NoCapture, [&](Arguments& a) { a.pointer("ptr", devPtr); },
      [&] { return memory::release(devPtr, memory::Kind::Device); });
}

EMU_API cudaError_t cudaMallocHost(void** ptr, size_t size) {
  static Function function("cudaMallocHost");
  return entry(
      function, Needs::OwnDevices, [&](Arguments& a) { describeResult(a, ptr, size); },
      [&] { return allocate(ptr, size, memory::Kind::Pinned); });
}

EMU_API cudaError_t cudaHostAlloc(void** pHost, size_t size, unsigned int flags) {
  static Function function("cudaHostAlloc");
  return entry(
      function, Needs::OwnDevices,
      [&](Arguments& a) {
        describeResult(a, pHost, size);
        a.number("flags", flags);
      },
      [&] { return (flags & ~kHostAllocFlags) != 0 ? cudaErrorInvalidValue : allocate(pHost, size, memory::Kind::Pinned); });
}

EMU_API cudaError_t cudaFreeHost(void* ptr) {
  static Function function("cudaFreeHost");
  return entry(
      function, Needs::NoCapture, [&](Arguments& a) { a.pointer("ptr", ptr); },
      [&] { return memory::release(ptr, memory::Kind::Pinned); });
}

EMU_API cudaError_t cudaHostRegister(void* ptr, size_t size, unsigned int flags) {
  static Function function("cudaHostRegister");
  return entry(
      function, Needs::NoCapture,
      [&](Arguments& a) {
        a.pointer("ptr", ptr);
        a.number("size", static_cast<int64_t>(size));
        a.number("flags", flags);
      },
      [&] {
        if (ptr == nullptr || size == 0 || (flags & ~kHostRegisterFlags) != 0) return cudaErrorInvalidValue;
        return memory::registerHost(ptr, size);
      });
}

EMU_API cudaError_t cudaHostUnregister(void* ptr) {
  static Function function("cudaHostUnregister");
  return entry(
      function, Needs::NoCapture, [&](Arguments& a) { a.pointer("ptr", ptr); }, [&] { return memory::unregisterHost(ptr); });
}

EMU_API cudaError_t cudaHostGetDevicePointer(void** pDevice, void* pHost, unsigned int flags) {
  static Function function("cudaHostGetDevicePointer");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("pHost", pHost);
        a.number("flags", flags);
      },
      [&] { return devicePointer(pDevice, pHost, flags); });
}

EMU_API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* pointerAttributes, const void* ptr) {
  static Function function("cudaPointerGetAttributes");
  return entry(
      function, Needs::OwnDevices, [&](Arguments& a) { a.pointer("ptr", ptr); },
      [&] { return !given(pointerAttributes) ? cudaErrorInvalidValue : attributes(pointerAttributes, ptr); });
}

EMU_API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  static Function function("cudaMemGetInfo");
  return entry(
      function, Needs::Device, [](Arguments&) {},
      [&] {
        if (!given(free) || !given(total)) return cudaErrorInvalidValue;
        const uint64_t used = memory::usage(device::current()).deviceBytes;
        *total = options::deviceMemory();
        *free = used < *total ? *total - used : 0;
        return cudaSuccess;
      });
}

}  // namespace emu
