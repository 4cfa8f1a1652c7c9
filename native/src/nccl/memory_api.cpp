// Memory for communication, its registration, and windows: registered memory that the ranks of a communicator know by
// an ordinal.
#include <cinttypes>
#include <string>
#include <vector>

#include "base/object_counts.h"
#include "cuda/memory.h"
#include "nccl/delayed_free.h"
#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

// What a rank says of its part of a window.
struct Part {
  uint64_t bytes;
  uint32_t flags;
  uint32_t code;  // of its own checks
  uint64_t base;
  ProcessIdentity process;
};

void keep(CommState& comm, void* base, const std::vector<Part>& parts, ncclWindow_t* out) {
  auto window = std::allocate_shared<ncclWindow_vidmem>(DelayedFreeAllocator<ncclWindow_vidmem>());
  const std::lock_guard<std::mutex> lock(comm.mutex);
  *window = {&comm, comm.registeredWindows++, static_cast<unsigned char*>(base), parts.front().bytes, {}};
  for (const Part& part : parts) {
    window->parts.push_back(part.process == self() ? reinterpret_cast<unsigned char*>(part.base) : nullptr);
  }
  *out = window.get();
  comm.windows.emplace(window.get(), std::move(window));
  objects::windows.add(comm.device, 1);
}

// Whether the memory may become a window.
void checkMemory(const CommState& comm, const void* base, size_t bytes, int flags) {
  std::string why;
  if (!memory::accessible(base, bytes, comm.device, &why)) throw Failure{ncclInvalidArgument, why};
  if ((flags & NCCL_WIN_COLL_SYMMETRIC) == 0) return;
  memory::Block block;
  const bool known = memory::find(base, &block);
  if (known && (block.kind == memory::Kind::Symmetric || block.kind == memory::Kind::Declared)) return;
  throw Failure{ncclUnhandledCudaError,
                "a symmetric window needs memory of ncclMemAlloc or cuMemCreate, this is " + memory::describe(base)};
}

void registerTogether(CommState& comm, void* base, size_t bytes, ncclWindow_t* out, int flags) {
  Team& ranks = comm.ranks();
  const Failure checked = endOf([&] { checkMemory(comm, base, bytes, flags); });
  const Part mine{bytes, static_cast<uint32_t>(flags), static_cast<uint32_t>(checked.code),
                  reinterpret_cast<uintptr_t>(base), self()};
  std::vector<Part> parts(static_cast<size_t>(ranks.size()));
  const TeamResult result = ranks.exchange(Purpose::RegisterWindow, &mine, parts.data(), sizeof mine, waitLimit());
  if (result != TeamResult::Ok) throw Failure{resultOf(result), ranks.explain()};
  check(checked);
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const Part& other = parts[rank];
    if (other.code != ncclSuccess) fail(ncclRemoteError, "rank %zu could not register its part of the window", rank);
    if (other.bytes != mine.bytes || other.flags != mine.flags) {
      fail(ncclInvalidArgument,
           "rank %d registers a window of %" PRIu64 " bytes (flags %u), rank %zu one of %" PRIu64 " (flags %u)",
           ranks.rank(), mine.bytes, mine.flags, rank, other.bytes, other.flags);
    }
  }
  keep(comm, base, parts, out);
}

// Symmetric windows are registered by all ranks together, at once or at the end of the group; others by each for
// itself.
ncclResult_t registerWindow(ncclComm_t comm, void* base, size_t bytes, ncclWindow_t* out, int flags) {
  const Comm state = usable(comm);
  if (!given(out)) fail(ncclInvalidArgument, "win is NULL");
  *out = nullptr;
  if (base == nullptr || bytes == 0) fail(ncclInvalidArgument, "a window of %zu bytes at %p", bytes, base);
  if ((flags & ~(NCCL_WIN_COLL_SYMMETRIC | NCCL_WIN_STRICT_ORDERING)) != 0) {
    fail(ncclInvalidArgument, "window flags 0x%x", static_cast<unsigned>(flags));
  }
  if (reinterpret_cast<uintptr_t>(base) % NCCL_WIN_REQUIRED_ALIGNMENT != 0) {
    fail(ncclInvalidArgument, "a window must begin at a multiple of %d, not at %p", NCCL_WIN_REQUIRED_ALIGNMENT, base);
  }
  const auto body = [state, base, bytes, out, flags] { return registerTogether(*state, base, bytes, out, flags); };
  return group::runHostOperation({state, body, nullptr});
}

void deregisterWindow(ncclComm_t comm, ncclWindow_t window) {
  const Comm state = ready(comm);
  if (window == nullptr) return;
  const std::lock_guard<std::mutex> lock(state->mutex);
  if (state->windows.erase(window) == 0) {
    fail(ncclInvalidArgument, "win %p is not a live window of the communicator", static_cast<void*>(window));
  }
  objects::windows.add(state->device, -1);
}

void allocate(void** out, size_t bytes) {
  checkCuda("ncclMemAlloc", given(out) ? memory::allocate(bytes, memory::Kind::Symmetric, out) : cudaErrorInvalidValue);
}

// Also frees memory of cudaMalloc, as the real function does.
void release(void* pointer) {
  memory::Block block;
  const bool ordinary = memory::find(pointer, &block) && block.kind == memory::Kind::Device;
  const auto kind = ordinary ? memory::Kind::Device : memory::Kind::Symmetric;
  checkCuda("ncclMemFree", memory::release(pointer, kind));
}

void registerBuffer(ncclComm_t comm, void* buffer, size_t bytes, void** handle) {
  const Comm state = usable(comm);
  if (buffer == nullptr || bytes == 0 || !given(handle)) {
    fail(ncclInvalidArgument, "registering %zu bytes at %p, handle at %p", bytes, buffer, static_cast<void*>(handle));
  }
  std::string text;
  if (!memory::accessible(buffer, bytes, state->device, &text)) throw Failure{ncclInvalidArgument, text};
  static std::atomic<uintptr_t> next{1};
  const uintptr_t token = next.fetch_add(1);
  const std::lock_guard<std::mutex> lock(state->mutex);
  state->registrations.insert(token);
  *handle = reinterpret_cast<void*>(token);
}

void deregisterBuffer(ncclComm_t comm, void* handle) {
  const Comm state = ready(comm);
  const std::lock_guard<std::mutex> lock(state->mutex);
  if (state->registrations.erase(reinterpret_cast<uintptr_t>(handle)) == 0) {
    fail(ncclInvalidArgument, "handle %p is not a live registration of the communicator", handle);
  }
}

void userPointer(ncclComm_t comm, ncclWindow_t handle, void** out) {
  const Comm state = ready(comm);
  if (!given(out)) fail(ncclInvalidArgument, "outUserPtr is NULL");
  const ncclWindow_vidmem* found = window(comm, handle);
  if (found == nullptr) {
    fail(ncclInvalidArgument, "win %p is not a live window of the communicator", static_cast<void*>(handle));
  }
  *out = found->base;
}

}  // namespace

EMU_NCCL(ncclMemAlloc, (void** ptr, size_t size), (ptr, size), allocate(ptr, size))

EMU_NCCL(ncclMemFree, (void* ptr), (ptr), release(ptr))

EMU_NCCL(ncclCommRegister, (const ncclComm_t comm, void* buff, size_t size, void** handle), (comm, buff, size, handle),
         registerBuffer(comm, buff, size, handle))

EMU_NCCL(ncclCommDeregister, (const ncclComm_t comm, void* handle), (comm, handle), deregisterBuffer(comm, handle))

EMU_NCCL_GROUPED(ncclCommWindowRegister, (ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags),
                 (comm, buff, size, win, winFlags), registerWindow(comm, buff, size, win, winFlags))

EMU_NCCL_GROUPED(ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t win), (comm, win),
                 deregisterWindow(comm, win))

EMU_NCCL(ncclWinGetUserPtr, (ncclComm_t comm, ncclWindow_t win, void** outUserPtr), (comm, win, outUserPtr),
         userPointer(comm, win, outUserPtr))

}  // namespace emu::nccl
