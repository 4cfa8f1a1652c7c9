#include "ep/ht/execution.h"
#include "ep/ht/update_run.h"
#include "ep/operations.h"
#include "ep/window.h"
#include "nccl/communicator.h"

namespace emu::ep {

namespace {

bool isInteger(ncclDataType_t type) { return type == ncclInt32 || type == ncclInt64; }

ncclResult_t take(Call& call, const char* name, const ncclEpTensor_t* descriptor, size_t least, CounterTarget* target,
                  ncclDataType_t* width) {
  Tensor tensor;
  if (auto failure = decodeOptional(call, name, descriptor, &tensor)) return failure;
  if (!tensor.present) return ncclSuccess;
  if (tensor.ndim != 1 || !isInteger(tensor.type) || tensor.sizes[0] < least) {
    return call.aborts("%s must be i32 or i64 [n], n >= %zu", name, least);
  }
  if (tensor.data == nullptr) return call.aborts("%s has no data", name);
  if (*width != ncclNumTypes && *width != tensor.type) return call.aborts("the counters differ in integer width");
  *width = tensor.type;
  *target = CounterTarget{tensor.data, tensor.type == ncclInt64};
  return ncclSuccess;
}

ncclResult_t takeCounters(Call& call, const Handle& handle, const ncclEpLayoutInfo_t& info, HtUpdate* op) {
  const size_t local = handle.group->shape.local();
  ncclDataType_t width = ncclNumTypes;  // of those seen so far
  if (handle.expertMajor()) {
    if (auto failure = take(call, "expert_counters", info.expert_counters, local, &op->expertCounters, &width)) {
      return failure;
    }
    if (auto failure = take(call, "expert_offsets", info.expert_offsets, local, &op->expertOffsets, &width)) {
      return failure;
    }
  } else {
    Tensor tensor;
    if (auto failure = decodeOptional(call, "expert_counters", info.expert_counters, &tensor)) return failure;
    if (tensor.present) {
      if (tensor.ndim != 1 || tensor.type != ncclInt32 || tensor.sizes[0] < local) {
        return call.aborts("expert_counters must be i32 [n], n >= %zu", local);
      }
      if (auto failure = resolveWindow(call, "expert_counters", handle.group->comm, &tensor)) return failure;
      op->expertCounters = CounterTarget{tensor.data, false};
    }
  }
  return take(call, "recv_total_counter", info.recv_total_counter, 1, &op->total, &width);
}

}  // namespace

ncclResult_t updateRouting(Call& call, const std::shared_ptr<Handle>& handle, const ncclEpLayoutInfo_t& info,
                           cudaStream_t stream) {
  const Shape& shape = handle->group->shape;
  const Tensor& routing = handle->routing;
  if (routing.sizes[0] > shape.maxDispatch) {
    return call.aborts("topk_idx has %zu rows, max_dispatch_tokens_per_rank is %zu", routing.sizes[0],
                       shape.maxDispatch);
  }
  if (handle->duplicates() && (shape.local() & (shape.local() - 1)) != 0) {
    return call.aborts("the group's expert-major mode needs a power of two of experts per rank, not %zu",
                       shape.local());
  }
  if (handle->duplicates() && shape.maxReceive >= size_t{1} << kSlotBits) {
    return call.undefined(
        "max_recv_tokens_per_rank %zu: the slot map of the group's expert-major mode numbers less than %zu rows",
        shape.maxReceive, size_t{1} << kSlotBits);
  }
  auto op = std::make_shared<HtUpdate>();
  op->plan = HtPlan(call.function(), *handle, routing.sizes[0]);
  op->routing = routing.data;
  // The routing goes around before the counters are looked at: the peers do not wait for a rank that fails here.
  const ncclResult_t late = takeCounters(call, *handle, info, op.get());
  if (late != ncclSuccess) op->expertCounters = op->expertOffsets = op->total = CounterTarget{};
  // The routing goes around in an all-gather of the communicator, whose order the ranks must share.
  const size_t bytes = shape.maxDispatch * htMapRowBytes(shape);
  const auto note = [comm = handle->group->comm,
                     text = "ncclEpUpdateHandle of group " + std::to_string(handle->group->number) + ", all-gather of " +
                            std::to_string(bytes) + " bytes"] {
    (void)noteCollective(comm, text);
  };
  if (auto failure = submitHt(call, op, stream, note)) return failure;
  return late;
}

}  // namespace emu::ep
