#include "ep/group.h"

#include "base/object_counts.h"
#include "base/options.h"
#include "base/wait.h"
#include "cuda/device.h"
#include "cuda/memory.h"
#include "ep/entry.h"
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

void provideWindowMemory(Call& call, Group& group, size_t bytes) {
  if (memory::release(group.windowMemory, memory::Kind::Symmetric) != cudaSuccess) {
    call.exits("the window memory was lost");
  }
  group.windowMemory = nullptr;
  if (bytes == 0 || memory::allocate(bytes, memory::Kind::Symmetric, &group.windowMemory) == cudaSuccess) return;
  const size_t used = memory::usage(group.device).deviceBytes;
  const size_t total = options::deviceMemory();
  call.exits("allocation failed: the group's buffers take %zu bytes, device %d has %zu of %zu free", bytes,
             group.device, used < total ? total - used : 0, total);
}

void noteOrder(Call& call, const Group& group, const char* operation) {
  const std::string differs = noteCollective(group.comm, operation);
  if (!differs.empty()) call.undefined("%s", differs.c_str());
}

GroupRegistry& groups() { return neverDestroyed<GroupRegistry>(); }

std::shared_ptr<Group> findGroup(Call& call, ncclEpGroup_t token) {
  std::shared_ptr<Group> group = groups().find(token);
  if (group == nullptr) call.undefined("ep_group is %s", GroupRegistry::unknown(token));
  call.setRank(group->rank);
  return group;
}

namespace {

// With a peer that is gone HT closes at once. LL waits for it in an all-reduce, which nothing ends: here the limit of
// waits does, or an abort of the communicator.
void meetToDestroy(Call& call, Group& group) {
  Team& team = *group.team;
  if (group.lowLatency) noteOrder(call, group, "ncclEpGroupDestroy, all-reduce");
  const TeamResult met = team.barrier(waitLimit());
  if (met == TeamResult::Ok || (met == TeamResult::PeerDied && !group.lowLatency)) return;
  const std::string why = team.explain();
  if (met == TeamResult::PeerDied) {
    EventCount never{};
    waitUntil(never, [] { return false; }, waitLimit(), [&team] { return team.aborted(); });
  }
  call.exits("the ranks did not meet: %s", why.c_str());
}

void destroyGroup(Call& call, ncclEpGroup_t token) {
  if (token == nullptr) return;
  const auto group = findGroup(call, token);
  if (const cudaError_t error = drainDevice(group->device)) {
    call.throws("the device has failed (%d): %s", static_cast<int>(error), device::stickyText(group->device).c_str());
  }
  if (communicator(group->comm) == nullptr) call.undefined("the group's communicator was destroyed before it");
  meetToDestroy(call, *group);
  if (groups().take(token) == nullptr) call.undefined("destroyed by two threads at once");
  group->destroyed = true;
  objects::groups.add(group->device, -1);
  std::string failed;
  group->freeMemory(&failed);
  if (!failed.empty()) call.throws("%s: free_fn failed", failed.c_str());
}

}  // namespace

EMU_EP(ncclEpGroupDestroy, (ncclEpGroup_t ep_group), (ep_group), destroyGroup(call, ep_group))

}  // namespace emu::ep
