#include "ep/group.h"

#include "base/object_counts.h"
#include "base/options.h"
#include "base/wait.h"
#include "cuda/device.h"
#include "cuda/memory.h"
#include "nccl/communicator.h"

namespace emu::ep {

cudaError_t Allocator::allocate(size_t bytes, void** out) const {
  *out = nullptr;
  if (callbacks_.alloc_fn != nullptr) return callbacks_.alloc_fn(out, bytes, callbacks_.context);
  return memory::allocate(bytes, memory::Kind::Device, out);
}

cudaError_t Allocator::release(void* pointer) const {
  if (callbacks_.free_fn != nullptr) return callbacks_.free_fn(pointer, callbacks_.context);
  return memory::release(pointer, memory::Kind::Device);
}

void Group::freeMemory(std::string* failed) {
  const auto release = [&](const char* what, void** pointer) {
    if (*pointer != nullptr && allocator.release(*pointer) != cudaSuccess) *failed = what;
    *pointer = nullptr;
  };
  release("counter block", &counterBlock);
  release("routing map", &routingMap);
  release("workspace", &workspace);
  if (memory::release(windowMemory, memory::Kind::Symmetric) != cudaSuccess) *failed = "window memory";
  windowMemory = nullptr;
}

ncclResult_t provideWindowMemory(Call& call, Group& group, size_t bytes) {
  if (memory::release(group.windowMemory, memory::Kind::Symmetric) != cudaSuccess) {
    return call.exits("the window memory was lost");
  }
  group.windowMemory = nullptr;
  if (bytes == 0 || memory::allocate(bytes, memory::Kind::Symmetric, &group.windowMemory) == cudaSuccess) {
    return ncclSuccess;
  }
  const size_t used = memory::usage(group.device).deviceBytes;
  const size_t total = options::deviceMemory();
  return call.exits("allocation failed: the group's buffers take %zu bytes, device %d has %zu of %zu free", bytes,
                    group.device, used < total ? total - used : 0, total);
}

ncclResult_t noteOrder(Call& call, const Group& group, const char* operation) {
  const std::string differs = noteCollective(group.comm, operation);
  return differs.empty() ? ncclSuccess : call.undefined("%s", differs.c_str());
}

cudaError_t checkAlive(const Group& group, WorkContext& context, const char* function) {
  if (!group.destroyed) return cudaSuccess;
  return context.fail(cudaErrorIllegalAddress, "%s on rank %d: the group was destroyed", function, group.rank);
}

GroupRegistry& groups() { return neverDestroyed<GroupRegistry>(); }

ncclResult_t findGroup(Call& call, ncclEpGroup_t token, std::shared_ptr<Group>* group) {
  *group = groups().find(token);
  if (*group == nullptr) return call.undefined("ep_group is %s", GroupRegistry::unknown(token));
  call.setRank((*group)->rank);
  return ncclSuccess;
}

namespace {

// With a peer that is gone HT closes at once. LL waits for it in an all-reduce, which nothing ends: here the limit of
// waits does, or an abort of the communicator.
ncclResult_t meetToDestroy(Call& call, Group& group) {
  Team& team = *group.team;
  if (group.lowLatency) {
    if (auto failure = noteOrder(call, group, "ncclEpGroupDestroy, all-reduce")) return failure;
  }
  const TeamResult met = team.barrier(waitLimit());
  if (met == TeamResult::Ok || (met == TeamResult::PeerDied && !group.lowLatency)) return ncclSuccess;
  const std::string why = team.explain();
  if (met == TeamResult::PeerDied) {
    EventCount never{};
    waitUntil(never, [] { return false; }, waitLimit(), [&team] { return team.aborted(); });
  }
  return call.exits("the ranks did not meet: %s", why.c_str());
}

}  // namespace

ncclResult_t destroyGroup(Call& call, ncclEpGroup_t token) {
  if (token == nullptr) return ncclSuccess;
  std::shared_ptr<Group> group;
  if (auto failure = findGroup(call, token, &group)) return failure;
  if (const cudaError_t error = drainDevice(group->device)) {
    return call.throws("the device has failed (%d): %s", static_cast<int>(error),
                       device::stickyText(group->device).c_str());
  }
  if (communicator(group->comm) == nullptr) return call.undefined("the group's communicator was destroyed before it");
  if (auto failure = meetToDestroy(call, *group)) return failure;
  if (groups().take(token) == nullptr) return call.undefined("destroyed by two threads at once");
  group->destroyed = true;
  objects::groups.add(group->device, -1);
  std::string failed;
  group->freeMemory(&failed);
  if (!failed.empty()) return call.throws("%s: free_fn failed", failed.c_str());
  return ncclSuccess;
}

}  // namespace emu::ep
