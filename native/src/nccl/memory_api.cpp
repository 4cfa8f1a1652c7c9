// Memory for communication, its registration, and windows.
#include "base/host_access.h"
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
  ncclResult_t why = ncclSuccess;
  const auto state = nccl::usable(comm, &why);
  if (state == nullptr) return why;
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
  ncclResult_t why = ncclSuccess;
  const auto state = nccl::ready(comm, &why);
  if (state == nullptr) return why;
  const std::lock_guard<std::mutex> lock(state->mutex);
  if (state->registrations.erase(reinterpret_cast<uintptr_t>(handle)) == 0) {
    return nccl::fail(ncclInvalidArgument, "handle %p is not a live registration of the communicator", handle);
  }
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclMemAlloc(void** ptr, size_t size) {
  static Function function("ncclMemAlloc");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("ptr", ptr);
        a.number("size", static_cast<int64_t>(size));
      },
      [&] { return allocate(ptr, size); });
}

EMU_API ncclResult_t ncclMemFree(void* ptr) {
  static Function function("ncclMemFree");
  return nccl::entry(
      function, [&](Arguments& a) { a.pointer("ptr", ptr); }, [&] { return release(ptr); });
}

EMU_API ncclResult_t ncclCommRegister(const ncclComm_t comm, void* buff, size_t size, void** handle) {
  static Function function("ncclCommRegister");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("buff", buff);
        a.number("size", static_cast<int64_t>(size));
        a.pointer("handle", handle);
      },
      [&] { return registerBuffer(comm, buff, size, handle); });
}

EMU_API ncclResult_t ncclCommDeregister(const ncclComm_t comm, void* handle) {
  static Function function("ncclCommDeregister");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("handle", handle);
      },
      [&] { return deregisterBuffer(comm, handle); });
}

EMU_API ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags) {
  static Function function("ncclCommWindowRegister");
  return nccl::groupedEntry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("buff", buff);
        a.number("size", static_cast<int64_t>(size));
        a.pointer("win", win);
        a.number("winFlags", winFlags);
      },
      [&] {
        ncclResult_t why = ncclSuccess;
        const auto state = nccl::usable(comm, &why);
        return state == nullptr ? why : nccl::registerWindow(state, buff, size, win, winFlags);
      });
}

EMU_API ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win) {
  static Function function("ncclCommWindowDeregister");
  return nccl::groupedEntry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("win", win);
      },
      [&] {
        ncclResult_t why = ncclSuccess;
        const auto state = nccl::ready(comm, &why);
        return state == nullptr ? why : nccl::deregisterWindow(*state, win);
      });
}

EMU_API ncclResult_t ncclWinGetUserPtr(ncclComm_t comm, ncclWindow_t win, void** outUserPtr) {
  static Function function("ncclWinGetUserPtr");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("win", win);
        a.pointer("outUserPtr", outUserPtr);
      },
      [&] {
        ncclResult_t why = ncclSuccess;
        const auto state = nccl::ready(comm, &why);
        if (state == nullptr) return why;
        if (!given(outUserPtr)) return nccl::fail(ncclInvalidArgument, "outUserPtr is NULL");
        const ncclWindow_vidmem* found = window(comm, win);
        if (found == nullptr) {
          return nccl::fail(ncclInvalidArgument, "win %p is not a live window of the communicator", static_cast<void*>(win));
        }
        *outUserPtr = found->base;
        return ncclSuccess;
      });
}
