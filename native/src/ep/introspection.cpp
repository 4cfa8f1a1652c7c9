#include "ep/introspection.h"

#include <atomic>

#include "cuda/work.h"
#include "ep/ht/plan.h"

namespace {

using emu::api;
using emu::Arguments;
using emu::Function;
namespace ep = emu::ep;

// A query of a handle; `fallback` where there is none, which the real library does not survive.
template <class Result, class Query>
Result ask(Function& function, ncclEpHandle_t token, Result fallback, const Query& query) {
  ep::Call call(function.name);
  return api<Result>(
      function,
      [&](Arguments& a) {
        a.pointer("handle", token);
        call.describe(a);
      },
      [&] {
        std::shared_ptr<ep::Handle> handle;
        return ep::findHandle(call, token, &handle) != ncclSuccess ? fallback : query(call, handle);
      });
}

// Reads the count as a blocking copy on the legacy default stream does.
ncclResult_t readReceived(ep::Call& call, const std::shared_ptr<ep::Handle>& handle, unsigned* count) {
  if (handle->group->lowLatency) return call.invalidUsage("LL counts lie in the caller's tensors");
  const ep::HtPlan plan(call.function(), *handle, 0);
  auto rows = std::make_shared<std::atomic<size_t>>(0);
  emu::Work work;
  work.name = call.function();
  work.kind = emu::WorkKind::Memcpy;
  work.rank = handle->group->rank;
  work.run = [plan, rows](emu::WorkContext& context) {
    if (!context.touch(plan.function, plan.block, plan.parts.bytes)) return cudaErrorIllegalAddress;
    *rows = plan.keptRows(UINT32_MAX);
    return cudaSuccess;
  };
  cudaError_t error = emu::submit(nullptr, std::move(work));
  if (error == cudaSuccess) error = emu::drain(nullptr);
  if (error != cudaSuccess) return ncclUnhandledCudaError;
  *count = static_cast<unsigned>(*rows);
  return ncclSuccess;
}

}  // namespace

const int32_t* ncclEpHandle_test_getSparseToDenseMap(ncclEpHandle_t token) {
  static Function function("ncclEpHandle_test_getSparseToDenseMap");
  const int32_t* map = nullptr;
  // The map's address is no result code: the log gets 0.
  ask<int>(function, token, 0, [&](ep::Call& call, const std::shared_ptr<ep::Handle>& handle) {
    if (!handle->group->lowLatency) map = ep::HtPlan(call.function(), *handle, 0).slotMap();
    return 0;
  });
  return map;
}

int ncclEpHandle_test_getNumTopk(ncclEpHandle_t token) {
  static Function function("ncclEpHandle_test_getNumTopk");
  return ask<int>(function, token, 0,
                  [](ep::Call&, const std::shared_ptr<ep::Handle>& handle) { return static_cast<int>(handle->topk); });
}

int ncclEpHandle_test_getMaxTokensPerRank(ncclEpHandle_t token) {
  static Function function("ncclEpHandle_test_getMaxTokensPerRank");
  return ask<int>(function, token, 0, [](ep::Call&, const std::shared_ptr<ep::Handle>& handle) {
    return static_cast<int>(handle->group->shape.maxDispatch);
  });
}

int ncclEpHandle_test_getNRanksPerNode(ncclEpHandle_t token) {
  static Function function("ncclEpHandle_test_getNRanksPerNode");
  return ask<int>(function, token, 0, [](ep::Call&, const std::shared_ptr<ep::Handle>& handle) { return handle->group->ranks; });
}

int ncclEpHandle_test_getExpertsPerRank(ncclEpHandle_t token) {
  static Function function("ncclEpHandle_test_getExpertsPerRank");
  return ask<int>(function, token, 0, [](ep::Call&, const std::shared_ptr<ep::Handle>& handle) {
    return static_cast<int>(handle->group->shape.local());
  });
}

ncclResult_t ncclEpHandle_test_getNumRecvTokens(ncclEpHandle_t token, unsigned* count) {
  static Function function("ncclEpHandle_test_getNumRecvTokens");
  return ask<ncclResult_t>(function, token, ncclInternalError, [&](ep::Call& call, const std::shared_ptr<ep::Handle>& handle) {
    if (count == nullptr) return call.undefined("the count is NULL");
    return readReceived(call, handle, count);
  });
}

void ncclEpHandle_test_clearTopkIdx(ncclEpHandle_t token) {
  static Function function("ncclEpHandle_test_clearTopkIdx");
  ask<int>(function, token, 0, [](ep::Call&, const std::shared_ptr<ep::Handle>& handle) {
    handle->routing.data = nullptr;
    return 0;
  });
}

ncclResult_t ncclEpGroup_test_setMaxDynamicSmem(ncclEpGroup_t token, int bytes) {
  static Function function("ncclEpGroup_test_setMaxDynamicSmem");
  ep::Call call(function.name);
  return api<ncclResult_t>(
      function,
      [&](Arguments& a) {
        a.pointer("ep_group", token);
        a.number("bytes", bytes);
        call.describe(a);
      },
      [&]() -> ncclResult_t {
        if (token == nullptr || bytes <= 0) return call.invalidArgument("ep_group is NULL or %d bytes are too few", bytes);
        std::shared_ptr<ep::Group> group;
        if (auto failure = ep::findGroup(call, token, &group)) return failure;
        group->sharedMemoryLimit = bytes;
        group->lastCombineWarps = 0;
        return ncclSuccess;
      });
}

int ncclEpGroup_test_getLastLlCombineWarpsPerGroup(ncclEpGroup_t token) {
  static Function function("ncclEpGroup_test_getLastLlCombineWarpsPerGroup");
  ep::Call call(function.name);
  return api<int>(function, [&](Arguments& a) { a.pointer("ep_group", token); },
                  [&] {
                    std::shared_ptr<ep::Group> group;
                    if (token == nullptr || ep::findGroup(call, token, &group) != ncclSuccess) return 0;
                    return group->lastCombineWarps.load();
                  });
}
