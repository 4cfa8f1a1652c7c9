#include "ep/ht/execution.h"
#include "ep/ht/update_run.h"
#include "ep/operations.h"
#include "ep/tensor.h"
#include "nccl/communicator.h"

namespace emu::ep {

namespace {

bool isInteger(ncclDataType_t type) { return type == ncclInt32 || type == ncclInt64; }

void take(Call& call, const char* name, const ncclEpTensor_t* descriptor, size_t least, CounterTarget* target,
                  ncclDataType_t* width) {
  const auto tensor = decodeOptional(call, name, descriptor);
  if (!tensor.present) return;
  if (tensor.ndim != 1 || !isInteger(tensor.type) || tensor.sizes[0] < least) {
    call.aborts("%s must be i32 or i64 [n], n >= %zu", name, least);
  }
  if (tensor.data == nullptr) call.aborts("%s has no data", name);
  if (*width != ncclNumTypes && *width != tensor.type) call.aborts("the counters differ in integer width");
  *width = tensor.type;
  *target = CounterTarget{tensor.data, tensor.type == ncclInt64};
}

void takeCounters(Call& call, const Handle& handle, const ncclEpLayoutInfo_t& info, HtUpdate* op) {
  const size_t local = handle.group->shape.local();
  ncclDataType_t width = ncclNumTypes;  // of those seen so far
  if (handle.expertMajor()) {
    take(call, "expert_counters", info.expert_counters, local, &op->expertCounters, &width);
    take(call, "expert_offsets", info.expert_offsets, local, &op->expertOffsets, &width);
  } else if (Tensor tensor = decodeOptional(call, "expert_counters", info.expert_counters); tensor.present) {
    if (tensor.ndim != 1 || tensor.type != ncclInt32 || tensor.sizes[0] < local) {
      call.aborts("expert_counters must be i32 [n], n >= %zu", local);
    }
    resolveWindow(call, "expert_counters", handle.group->comm, &tensor);
    op->expertCounters = CounterTarget{tensor.data, false};
  }
  take(call, "recv_total_counter", info.recv_total_counter, 1, &op->total, &width);
}

}  // namespace

void updateRouting(Call& call, const std::shared_ptr<Handle>& handle, const ncclEpLayoutInfo_t& info,
                           cudaStream_t stream) {
  const Shape& shape = handle->group->shape;
  const Tensor& routing = handle->routing;
  if (routing.sizes[0] > shape.maxDispatch) {
    call.aborts("topk_idx has %zu rows, max_dispatch_tokens_per_rank is %zu", routing.sizes[0], shape.maxDispatch);
  }
  if (handle->duplicates() && (shape.local() & (shape.local() - 1)) != 0) {
    call.aborts("the group's expert-major mode needs a power of two of experts per rank, not %zu", shape.local());
  }
  if (handle->duplicates() && shape.maxReceive >= size_t{1} << kSlotBits) {
    call.undefined(
        "max_recv_tokens_per_rank %zu: the slot map of the group's expert-major mode numbers less than %zu rows",
        shape.maxReceive, size_t{1} << kSlotBits);
  }
  auto op = std::make_shared<HtUpdate>();
  op->plan = HtPlan(call.function(), *handle, routing.sizes[0]);
  op->routing = routing.data;
  // The routing goes around before the counters are looked at: the peers do not wait for a rank that fails here.
  const auto late = refusalOf([&] { takeCounters(call, *handle, info, op.get()); });
  if (late) op->expertCounters = op->expertOffsets = op->total = CounterTarget{};
  // The routing goes around in an all-gather of the communicator, whose order the ranks must share.
  const size_t bytes = shape.maxDispatch * htMapRowBytes(shape);
  const auto note = [comm = handle->group->comm,
                     text = "ncclEpUpdateHandle of group " + std::to_string(handle->group->number) + ", all-gather of " +
                            std::to_string(bytes) + " bytes"] {
    (void)noteCollective(comm, text);
  };
  submitHt(call, op, stream, note);
  if (late) throw *late;
}

}  // namespace emu::ep
