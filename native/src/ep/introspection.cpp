#include "ep/introspection.h"

#include <atomic>

#include "ep/entry.h"
#include "ep/ht/plan.h"

namespace ep = emu::ep;
using ep::entry;
using ep::query;

namespace {

// ask(handle), or 0 where there is no handle, which the real library does not survive.
template <class Ask>
int ofHandle(ep::Call& call, ncclEpHandle_t token, const Ask& ask) {
  int answer = 0;
  ep::refusalOf([&] { answer = static_cast<int>(ask(*ep::findHandle(call, token))); });
  return answer;
}

// Reads the count as a blocking copy on the legacy default stream does.
void readReceived(ep::Call& call, ncclEpHandle_t token, unsigned* count) {
  const auto handle = ep::findHandle(call, token);
  if (count == nullptr) call.undefined("the count is NULL");
  if (handle->group->lowLatency) call.invalidUsage("LL counts lie in the caller's tensors");
  const ep::HtPlan plan(call.function(), *handle, 0);
  auto rows = std::make_shared<std::atomic<size_t>>(0);
  const auto read = [plan, rows](emu::WorkContext& context) {
    context.touch(plan.function, plan.block, plan.parts.bytes);
    *rows = plan.keptRows(UINT32_MAX);
  };
  cudaError_t error = emu::submit(nullptr, {call.function(), emu::WorkKind::Memcpy, read, handle->group->rank});
  if (error == cudaSuccess) error = emu::drain(nullptr);
  if (error != cudaSuccess) throw ep::Refusal{ncclUnhandledCudaError};
  *count = static_cast<unsigned>(*rows);
}

void setMaxDynamicSmem(ep::Call& call, ncclEpGroup_t token, int bytes) {
  if (token == nullptr || bytes <= 0) call.invalidArgument("ep_group is NULL or %d bytes are too few", bytes);
  const auto group = ep::findGroup(call, token);
  group->sharedMemoryLimit = bytes;
  group->lastCombineWarps = 0;
}

int lastCombineWarps(ep::Call& call, ncclEpGroup_t token) {
  int warps = 0;
  ep::refusalOf([&] { warps = token != nullptr ? ep::findGroup(call, token)->lastCombineWarps.load() : 0; });
  return warps;
}

}  // namespace

const int32_t* ncclEpHandle_test_getSparseToDenseMap(ncclEpHandle_t handle) {
  const int32_t* map = nullptr;
  // The map's address is no result code: the log gets 0.
  EMU_CALL(query<int>, (handle), ofHandle(call, handle, [&](const ep::Handle& live) {
             // Over several teams the real map is about tokens of other ranks, which is not played here.
             const bool shown = !live.group->lowLatency && live.group->topology.teams() == 1;
             if (shown) map = ep::HtPlan(call.function(), live, 0).slotMap();
             return 0;
           }));
  return map;
}

int ncclEpHandle_test_getNumTopk(ncclEpHandle_t handle) {
  return EMU_CALL(query<int>, (handle), ofHandle(call, handle, [](const ep::Handle& live) { return live.topk; }));
}

int ncclEpHandle_test_getMaxTokensPerRank(ncclEpHandle_t handle) {
  return EMU_CALL(query<int>, (handle),
                  ofHandle(call, handle, [](const ep::Handle& live) { return live.group->shape.maxDispatch; }));
}

int ncclEpHandle_test_getNRanksPerNode(ncclEpHandle_t handle) {
  return EMU_CALL(query<int>, (handle),
                  ofHandle(call, handle, [](const ep::Handle& live) { return live.group->topology.teamSize; }));
}

int ncclEpHandle_test_getExpertsPerRank(ncclEpHandle_t handle) {
  return EMU_CALL(query<int>, (handle),
                  ofHandle(call, handle, [](const ep::Handle& live) { return live.group->shape.local(); }));
}

ncclResult_t ncclEpHandle_test_getNumRecvTokens(ncclEpHandle_t handle, unsigned* count) {
  return EMU_CALL(entry, (handle), readReceived(call, handle, count));
}

void ncclEpHandle_test_clearTopkIdx(ncclEpHandle_t handle) {
  EMU_CALL(query<int>, (handle), ofHandle(call, handle, [](ep::Handle& live) {
             live.routing.data = nullptr;
             return 0;
           }));
}

ncclResult_t ncclEpGroup_test_setMaxDynamicSmem(ncclEpGroup_t ep_group, int bytes) {
  return EMU_CALL(entry, (ep_group, bytes), setMaxDynamicSmem(call, ep_group, bytes));
}

int ncclEpGroup_test_getLastLlCombineWarpsPerGroup(ncclEpGroup_t ep_group) {
  return EMU_CALL(query<int>, (ep_group), lastCombineWarps(call, ep_group));
}
