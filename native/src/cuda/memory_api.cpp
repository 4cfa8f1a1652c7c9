// cudaMalloc, cudaFree, pinned and registered host memory, and questions about memory.
#include "base/options.h"
#include "cuda/entry.h"
#include "cuda/memory.h"

namespace emu {

namespace {

constexpr unsigned kHostAllocFlags = cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
constexpr unsigned kHostRegisterFlags =
    cudaHostRegisterPortable | cudaHostRegisterMapped | cudaHostRegisterIoMemory | cudaHostRegisterReadOnly;
constexpr int kNoDevice = -2;  // what cudaPointerGetAttributes tells of memory that CUDA does not know

void attributes(cudaPointerAttributes* out, const void* pointer) {
  require(given(out));
  *out = cudaPointerAttributes{};
  memory::Block block;
  void* address = const_cast<void*>(pointer);
  if (!memory::find(pointer, &block)) {
    out->type = cudaMemoryTypeUnregistered;
    out->device = kNoDevice;
    out->hostPointer = address;
    return;
  }
  const bool host = memory::onHost(block.kind);
  out->type = host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  out->device = block.device;
  out->devicePointer = address;
  out->hostPointer = host ? address : nullptr;
}

void devicePointer(void** out, void* host, unsigned flags) {
  require(given(out) && flags == 0);
  memory::Block block;
  require(memory::find(host, &block) && memory::onHost(block.kind));
  *out = host;
}

// Nothing is asked for with 0 bytes, which no capture and no failed device forbids.
cudaError_t allocate(void** out, size_t bytes, memory::Kind kind) {
  require(given(out));
  if (bytes != 0) admit(Needs::NoCapture);
  return memory::allocate(bytes, kind, out);
}

cudaError_t registerHost(void* pages, size_t bytes, unsigned flags) {
  require(pages != nullptr && bytes != 0 && (flags & ~kHostRegisterFlags) == 0 && host::mapped(pages, bytes));
  return memory::registerHost(pages, bytes);
}

void info(size_t* free, size_t* total) {
  require(given(free) && given(total));
  const uint64_t used = memory::usage(device::current()).deviceBytes;
  *total = options::deviceMemory();
  *free = used < *total ? *total - used : 0;
}

}  // namespace

EMU_CUDA(OwnDevices, cudaMalloc, (void** ptr, size_t size), (made(ptr), size),
         allocate(ptr, size, memory::Kind::Device))

EMU_CUDA(NoCapture, cudaFree, (void* ptr), (ptr), memory::release(ptr, memory::Kind::Device))

EMU_CUDA(OwnDevices, cudaMallocHost, (void** ptr, size_t size), (made(ptr), size),
         allocate(ptr, size, memory::Kind::Pinned))

EMU_CUDA(OwnDevices, cudaHostAlloc, (void** ptr, size_t size, unsigned int flags), (made(ptr), size, flags),
         (flags & ~kHostAllocFlags) != 0 ? cudaErrorInvalidValue : allocate(ptr, size, memory::Kind::Pinned))

EMU_CUDA(NoCapture, cudaFreeHost, (void* ptr), (ptr), memory::release(ptr, memory::Kind::Pinned))

EMU_CUDA(NoCapture, cudaHostRegister, (void* ptr, size_t size, unsigned int flags), (ptr, size, flags),
         registerHost(ptr, size, flags))

EMU_CUDA(NoCapture, cudaHostUnregister, (void* ptr), (ptr), memory::unregisterHost(ptr))

EMU_CUDA(Device, cudaHostGetDevicePointer, (void** pDevice, void* pHost, unsigned int flags), (pHost, flags),
         devicePointer(pDevice, pHost, flags))

EMU_CUDA(OwnDevices, cudaPointerGetAttributes, (cudaPointerAttributes* pointerAttributes, const void* ptr), (ptr),
         attributes(pointerAttributes, ptr))

EMU_CUDA(Device, cudaMemGetInfo, (size_t* free, size_t* total), (), info(free, total))

}  // namespace emu
