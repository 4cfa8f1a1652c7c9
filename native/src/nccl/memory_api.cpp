// Memory for communication, its registration, and windows.
#include "cuda/error_names.h"
#include "cuda/memory.h"
#include "nccl/entry.h"
#include "nccl/state.h"
#include "nccl/windows.h"

using namespace emu;

namespace {

ncclResult_t cudaFailure(const char* function, cudaError_t error) {
  return nccl::fail(ncclUnhandledCudaError, "%s: %s", function, errorName(error));
}

ncclResult_t allocate(void** out, size_t bytes) {
  if (!given(out)) return cudaFailure("ncclMemAlloc", cudaErrorInvalidValue);
  const cudaError_t error = memory::allocate(bytes, memory::Kind::Symmetric, out);
  return error == cudaSuccess ? ncclSuccess : cudaFailure("ncclMemAlloc", error);
}

// Also frees memory of cudaMalloc, as the real function does.
ncclResult_t release(void* pointer) {
  memory::Block block;
  const bool ordinary = memory::find(pointer, &block) && block.kind == memory::Kind::Device;
  const cudaError_t error = memory::release(pointer, ordinary ? memory::Kind::Device : memory::Kind::Symmetric);
  return error == cudaSuccess ? ncclSuccess : cudaFailure("ncclMemFree", error);
}

ncclResult_t registerBuffer(ncclComm_t comm, void* buffer, size_t bytes, void** handle) {
  nccl::Comm state;
  EMU_TRY(nccl::usable(comm, &state));
  if (buffer == nullptr || bytes == 0 || !given(handle)) {
    return nccl::fail(ncclInvalidArgument, "registering %zu bytes at %p, handle at %p", bytes, buffer,
                      static_cast<void*>(handle));
  }
  std::string text;
  if (!memory::accessible(buffer, bytes, state->device, &text)) return nccl::failWith(ncclInvalidArgument, text);
  static std::atomic<uintptr_t> next{1};
  const uintptr_t token = next.fetch_add(1);
  const std::lock_guard<std::mutex> lock(state->mutex);
  state->registrations.insert(token);
  *handle = reinterpret_cast<void*>(token);
  return ncclSuccess;
}

ncclResult_t deregisterBuffer(ncclComm_t comm, void* handle) {
  nccl::Comm state;
  EMU_TRY(nccl::ready(comm, &state));
  const std::lock_guard<std::mutex> lock(state->mutex);
  if (state->registrations.erase(reinterpret_cast<uintptr_t>(handle)) == 0) {
    return nccl::fail(ncclInvalidArgument, "handle %p is not a live registration of the communicator", handle);
  }
  return ncclSuccess;
}

ncclResult_t registerWindow(ncclComm_t comm, void* buffer, size_t bytes, ncclWindow_t* out, int flags) {
  nccl::Comm state;
  EMU_TRY(nccl::usable(comm, &state));
  return nccl::registerWindow(state, buffer, bytes, out, flags);
}

ncclResult_t deregisterWindow(ncclComm_t comm, ncclWindow_t handle) {
  nccl::Comm state;
  EMU_TRY(nccl::ready(comm, &state));
  return nccl::deregisterWindow(*state, handle);
}

ncclResult_t userPointer(ncclComm_t comm, ncclWindow_t handle, void** out) {
  nccl::Comm state;
  EMU_TRY(nccl::ready(comm, &state));
  if (!given(out)) return nccl::fail(ncclInvalidArgument, "outUserPtr is NULL");
  const ncclWindow_vidmem* found = window(comm, handle);
  if (found == nullptr) {
    return nccl::fail(ncclInvalidArgument, "win %p is not a live window of the communicator", static_cast<void*>(handle));
  }
  *out = found->base;
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclMemAlloc(void** ptr, size_t size) {
  return EMU_CALL(nccl::entry, (ptr, size), allocate(ptr, size));
}

EMU_API ncclResult_t ncclMemFree(void* ptr) {
  return EMU_CALL(nccl::entry, (ptr), release(ptr));
}

EMU_API ncclResult_t ncclCommRegister(const ncclComm_t comm, void* buff, size_t size, void** handle) {
  return EMU_CALL(nccl::entry, (comm, buff, size, handle), registerBuffer(comm, buff, size, handle));
}

EMU_API ncclResult_t ncclCommDeregister(const ncclComm_t comm, void* handle) {
  return EMU_CALL(nccl::entry, (comm, handle), deregisterBuffer(comm, handle));
}

EMU_API ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags) {
  return EMU_CALL(nccl::groupedEntry, (comm, buff, size, win, winFlags),
                  registerWindow(comm, buff, size, win, winFlags));
}

EMU_API ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win) {
  return EMU_CALL(nccl::groupedEntry, (comm, win), deregisterWindow(comm, win));
}

EMU_API ncclResult_t ncclWinGetUserPtr(ncclComm_t comm, ncclWindow_t win, void** outUserPtr) {
  return EMU_CALL(nccl::entry, (comm, win, outUserPtr), userPointer(comm, win, outUserPtr));
}
