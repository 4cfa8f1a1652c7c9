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

cudaError_t attributes(cudaPointerAttributes* out, const void* pointer) {
  if (!given(out)) return cudaErrorInvalidValue;
  *out = cudaPointerAttributes{};
  memory::Block block;
  void* address = const_cast<void*>(pointer);
  if (!memory::find(pointer, &block)) {
    out->type = cudaMemoryTypeUnregistered;
    out->device = kNoDevice;
    out->hostPointer = address;
    return cudaSuccess;
  }
  const bool host = memory::onHost(block.kind);
  out->type = host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  out->device = block.device;
  out->devicePointer = address;
  out->hostPointer = host ? address : nullptr;
  return cudaSuccess;
}

cudaError_t devicePointer(void** out, void* host, unsigned flags) {
  if (!given(out) || flags != 0) return cudaErrorInvalidValue;
  memory::Block block;
  if (!memory::find(host, &block) || !memory::onHost(block.kind)) return cudaErrorInvalidValue;
  *out = host;
  return cudaSuccess;
}

// Nothing is asked for with 0 bytes, which no capture and no failed device forbids.
cudaError_t allocate(void** out, size_t bytes, memory::Kind kind) {
  if (!given(out)) return cudaErrorInvalidValue;
  if (bytes != 0) EMU_TRY(admit(Needs::NoCapture));
  return memory::allocate(bytes, kind, out);
}

cudaError_t registerHost(void* pages, size_t bytes, unsigned flags) {
  if (pages == nullptr || bytes == 0 || (flags & ~kHostRegisterFlags) != 0) return cudaErrorInvalidValue;
  if (!host::mapped(pages, bytes)) return cudaErrorInvalidValue;
  return memory::registerHost(pages, bytes);
}

cudaError_t info(size_t* free, size_t* total) {
  if (!given(free) || !given(total)) return cudaErrorInvalidValue;
  const uint64_t used = memory::usage(device::current()).deviceBytes;
  *total = options::deviceMemory();
  *free = used < *total ? *total - used : 0;
  return cudaSuccess;
}

}  // namespace

EMU_API cudaError_t cudaMalloc(void** ptr, size_t size) {
  return EMU_CALL(entry<Needs::OwnDevices>, (made(ptr), size), allocate(ptr, size, memory::Kind::Device));
}

EMU_API cudaError_t cudaFree(void* ptr) {
  return EMU_CALL(entry<Needs::NoCapture>, (ptr), memory::release(ptr, memory::Kind::Device));
}

EMU_API cudaError_t cudaMallocHost(void** ptr, size_t size) {
  return EMU_CALL(entry<Needs::OwnDevices>, (made(ptr), size), allocate(ptr, size, memory::Kind::Pinned));
}

EMU_API cudaError_t cudaHostAlloc(void** ptr, size_t size, unsigned int flags) {
  return EMU_CALL(entry<Needs::OwnDevices>, (made(ptr), size, flags),
                  (flags & ~kHostAllocFlags) != 0 ? cudaErrorInvalidValue : allocate(ptr, size, memory::Kind::Pinned));
}

EMU_API cudaError_t cudaFreeHost(void* ptr) {
  return EMU_CALL(entry<Needs::NoCapture>, (ptr), memory::release(ptr, memory::Kind::Pinned));
}

EMU_API cudaError_t cudaHostRegister(void* ptr, size_t size, unsigned int flags) {
  return EMU_CALL(entry<Needs::NoCapture>, (ptr, size, flags), registerHost(ptr, size, flags));
}

EMU_API cudaError_t cudaHostUnregister(void* ptr) {
  return EMU_CALL(entry<Needs::NoCapture>, (ptr), memory::unregisterHost(ptr));
}

EMU_API cudaError_t cudaHostGetDevicePointer(void** pDevice, void* pHost, unsigned int flags) {
  return EMU_CALL(entry, (pHost, flags), devicePointer(pDevice, pHost, flags));
}

EMU_API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* pointerAttributes, const void* ptr) {
  return EMU_CALL(entry<Needs::OwnDevices>, (ptr), attributes(pointerAttributes, ptr));
}

EMU_API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) { return EMU_CALL(entry, (), info(free, total)); }

}  // namespace emu
