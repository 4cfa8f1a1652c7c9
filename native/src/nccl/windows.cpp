#include "nccl/windows.h"

#include <string>
#include <vector>

#include "base/host_access.h"
#include "base/object_counts.h"
#include "cuda/memory.h"
#include "nccl/errors.h"
#include "nccl/group.h"
#include "nccl/delayed_free.h"

namespace emu::nccl {

namespace {

constexpr uint64_t kWindowMagic = 0x77696e646e63346a;
// What a rank says of its part of a window.
struct Part {
  uint64_t bytes;
  uint32_t flags;
  uint32_t code;  // of its own checks
  uint64_t base;
  ProcessIdentity process;
};

void keep(CommState& comm, void* base, const std::vector<Part>& parts, ncclWindow_t* out, int flags) {
  auto window = std::allocate_shared<ncclWindow_vidmem>(DelayedFreeAllocator<ncclWindow_vidmem>());
  const std::lock_guard<std::mutex> lock(comm.mutex);
  *window = {kWindowMagic, &comm, comm.registeredWindows++, static_cast<unsigned char*>(base), parts.front().bytes, flags, {}};
  for (const Part& part : parts) {
    window->parts.push_back(part.process == self() ? reinterpret_cast<unsigned char*>(part.base) : nullptr);
  }
  *out = window.get();
  comm.windows.emplace(window.get(), std::move(window));
  objects::windows.add(comm.device, 1);
}

// Whether the memory may become a window; `text` tells why not.
ncclResult_t checkMemory(const CommState& comm, const void* base, size_t bytes, int flags, std::string* text) {
  if (!memory::accessible(base, bytes, comm.device, text)) return ncclInvalidArgument;
  if ((flags & NCCL_WIN_COLL_SYMMETRIC) == 0) return ncclSuccess;
  memory::Block block;
  const bool known = memory::find(base, &block);
  if (known && (block.kind == memory::Kind::Symmetric || block.kind == memory::Kind::Declared)) return ncclSuccess;
  *text = "a symmetric window needs memory of ncclMemAlloc or cuMemCreate, this is " + memory::describe(base);
  return ncclUnhandledCudaError;
}

ncclResult_t registerTogether(CommState& comm, void* base, size_t bytes, ncclWindow_t* out, int flags, std::string* text) {
  SharedTeam& ranks = comm.ranks();
  const ncclResult_t checked = checkMemory(comm, base, bytes, flags, text);
  const Part mine{bytes, static_cast<uint32_t>(flags), static_cast<uint32_t>(checked), reinterpret_cast<uintptr_t>(base), self()};
  std::vector<Part> parts(static_cast<size_t>(ranks.size()));
  const TeamResult result = ranks.exchange(Purpose::RegisterWindow, &mine, parts.data(), sizeof mine, waitLimit());
  if (result != TeamResult::Ok) {
    *text = ranks.explain();
    return resultOf(result);
  }
  if (checked != ncclSuccess) return checked;
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    if (parts[rank].code != ncclSuccess) {
      *text = "rank " + std::to_string(rank) + " could not register its part of the window";
      return ncclRemoteError;
    }
    if (parts[rank].bytes != mine.bytes || parts[rank].flags != mine.flags) {
      *text = "rank " + std::to_string(ranks.rank()) + " registers a window of " + std::to_string(mine.bytes) +
              " bytes (flags " + std::to_string(mine.flags) + "), rank " + std::to_string(rank) + " one of " +
              std::to_string(parts[rank].bytes) + " (flags " + std::to_string(parts[rank].flags) + ")";
      return ncclInvalidArgument;
    }
  }
  keep(comm, base, parts, out, flags);
  return ncclSuccess;
}

}  // namespace

ncclResult_t registerWindow(const std::shared_ptr<CommState>& comm, void* base, size_t bytes, ncclWindow_t* out, int flags) {
  if (!given(out)) return fail(ncclInvalidArgument, "win is NULL");
  *out = nullptr;
  if (base == nullptr || bytes == 0) return fail(ncclInvalidArgument, "a window of %zu bytes at %p", bytes, base);
  if ((flags & ~(NCCL_WIN_COLL_SYMMETRIC | NCCL_WIN_STRICT_ORDERING)) != 0) {
    return fail(ncclInvalidArgument, "window flags 0x%x", static_cast<unsigned>(flags));
  }
  if (reinterpret_cast<uintptr_t>(base) % NCCL_WIN_REQUIRED_ALIGNMENT != 0) {
    return fail(ncclInvalidArgument, "a window must begin at a multiple of %d, not at %p", NCCL_WIN_REQUIRED_ALIGNMENT, base);
  }
  group::HostOperation hostOperation;
  hostOperation.comm = comm;
  hostOperation.body = [comm, base, bytes, out, flags](std::string* text) {
    return registerTogether(*comm, base, bytes, out, flags, text);
  };
  return group::runHostOperation(std::move(hostOperation));
}

ncclResult_t deregisterWindow(CommState& comm, ncclWindow_t window) {
  if (window == nullptr) return ncclSuccess;
  const std::lock_guard<std::mutex> lock(comm.mutex);
  if (comm.windows.erase(window) == 0) {
    return fail(ncclInvalidArgument, "win %p is not a live window of the communicator", static_cast<void*>(window));
  }
  objects::windows.add(comm.device, -1);
  return ncclSuccess;
}

}  // namespace emu::nccl
