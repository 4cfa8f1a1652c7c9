// Memory for communication, its registration, and windows.
#include "cuda/memory.h"
#include "nccl/entry.h"
#include "nccl/state.h"
#include "nccl/windows.h"

namespace emu::nccl {

namespace {

ncclResult_t allocate(void** out, size_t bytes) {
  if (!given(out)) return failCuda("ncclMemAlloc", cudaErrorInvalidValue);
  return failCuda("ncclMemAlloc", memory::allocate(bytes, memory::Kind::Symmetric, out));
}

// Also frees memory of cudaMalloc, as the real function does.
ncclResult_t release(void* pointer) {
  memory::Block block;
  const bool ordinary = memory::find(pointer, &block) && block.kind == memory::Kind::Device;
  const auto kind = ordinary ? memory::Kind::Device : memory::Kind::Symmetric;
  return failCuda("ncclMemFree", memory::release(pointer, kind));
}

ncclResult_t registerBuffer(ncclComm_t comm, void* buffer, size_t bytes, void** handle) {
  Comm state;
  EMU_TRY(usable(comm, &state));
  if (buffer == nullptr || bytes == 0 || !given(handle)) {
    return fail(ncclInvalidArgument, "registering %zu bytes at %p, handle at %p", bytes, buffer,
                      static_cast<void*>(handle));
  }
  std::string text;
  if (!memory::accessible(buffer, bytes, state->device, &text)) return failWith(ncclInvalidArgument, text);
  static std::atomic<uintptr_t> next{1};
  const uintptr_t token = next.fetch_add(1);
  const std::lock_guard<std::mutex> lock(state->mutex);
  state->registrations.insert(token);
  *handle = reinterpret_cast<void*>(token);
  return ncclSuccess;
}

ncclResult_t deregisterBuffer(ncclComm_t comm, void* handle) {
  Comm state;
  EMU_TRY(ready(comm, &state));
  const std::lock_guard<std::mutex> lock(state->mutex);
  if (state->registrations.erase(reinterpret_cast<uintptr_t>(handle)) == 0) {
    return fail(ncclInvalidArgument, "handle %p is not a live registration of the communicator", handle);
  }
  return ncclSuccess;
}

ncclResult_t userPointer(ncclComm_t comm, ncclWindow_t handle, void** out) {
  Comm state;
  EMU_TRY(ready(comm, &state));
  if (!given(out)) return fail(ncclInvalidArgument, "outUserPtr is NULL");
  const ncclWindow_vidmem* found = window(comm, handle);
  if (found == nullptr) {
    return fail(ncclInvalidArgument, "win %p is not a live window of the communicator", static_cast<void*>(handle));
  }
  *out = found->base;
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclMemAlloc(void** ptr, size_t size) { return EMU_CALL(entry, (ptr, size), allocate(ptr, size)); }

EMU_API ncclResult_t ncclMemFree(void* ptr) { return EMU_CALL(entry, (ptr), release(ptr)); }

EMU_API ncclResult_t ncclCommRegister(const ncclComm_t comm, void* buff, size_t size, void** handle) {
  return EMU_CALL(entry, (comm, buff, size, handle), registerBuffer(comm, buff, size, handle));
}

EMU_API ncclResult_t ncclCommDeregister(const ncclComm_t comm, void* handle) {
  return EMU_CALL(entry, (comm, handle), deregisterBuffer(comm, handle));
}

EMU_API ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags) {
  return EMU_CALL(groupedEntry, (comm, buff, size, win, winFlags), registerWindow(comm, buff, size, win, winFlags));
}

EMU_API ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win) {
  return EMU_CALL(groupedEntry, (comm, win), deregisterWindow(comm, win));
}

EMU_API ncclResult_t ncclWinGetUserPtr(ncclComm_t comm, ncclWindow_t win, void** outUserPtr) {
  return EMU_CALL(entry, (comm, win, outUserPtr), userPointer(comm, win, outUserPtr));
}

}  // namespace emu::nccl
