#include "ep/ll/operation.h"

#include "cuda/device.h"

namespace emu::ep {

namespace {

constexpr unsigned kLlContexts = 4;  // that the kernels use if there are several LSA teams

const char* workName(Operation operation, LlOperation::Part part) {
  static const char* const names[][3] = {{"ncclEpDispatch", "ncclEpDispatch send", "ncclEpDispatch receive"},
                                         {"ncclEpCombine", "ncclEpCombine send", "ncclEpCombine receive"}};
  return names[operation == Operation::Dispatch ? 0 : 1][static_cast<int>(part)];
}

}  // namespace

void LlOperation::fix(const Call& call, const Handle& handle, Operation operation, bool staged, size_t tokenCount) {
  group = handle.group;
  launch = LlLaunch{call.function(), operation, group->ll.generation, staged};
  rankMajor = !handle.expertMajor();
  tokens = tokenCount;
  topk = handle.topk;
  routing = handle.routing.data;
  wideRouting = handle.routing.type == ncclInt64;
  block = handle.block;
}

void LlOperation::run(WorkContext& context, Part part) const {
  LlExecution execution(*group, launch, context);
  if (part == Part::Receive) {
    execution.startReceive();
  } else {
    execution.startSend();
    send(execution);
  }
  if (part == Part::Send) {
    execution.finishSend();
    return;
  }
  receive(execution);
  execution.finishReceive();
}

void LlOperation::announce(SendBufferHeader& header, size_t rowBytes) const {
  header = SendBufferHeader{};
  header.layout = rankMajor ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_EXPERT_MAJOR;
  header.topk = static_cast<uint32_t>(topk);
  header.rowBytes = static_cast<uint32_t>(rowBytes);
}

void LlOperation::checkSource(const Execution& execution, int source, const SendBufferHeader& theirs,
                              size_t rowBytes) const {
  if (theirs.topk != topk || theirs.rowBytes != rowBytes || (theirs.layout == NCCL_EP_LAYOUT_RANK_MAJOR) != rankMajor) {
    execution.failBetween(source, "", "differ in top-k, row bytes, or layout");
  }
}

void submitLl(Call& call, const std::shared_ptr<const LlOperation>& op, LlOperation::Part part,
                      cudaStream_t stream) {
  const Group& group = *op->group;
  if (group.topology.teams() > 1 && group.queuePairs != 0 && group.queuePairs < kLlContexts) {
    call.undefined("num_qp_per_rank %u, LL kernels use the contexts of %u", group.queuePairs, kLlContexts);
  }
  const auto run = [op, part](WorkContext& context) { op->run(context, part); };
  const cudaError_t error = submit(stream, {workName(op->launch.operation, part), WorkKind::Kernel, run, group.rank});
  if (error != cudaSuccess) {
    call.internalError("the launch failed with CUDA error %d %s", static_cast<int>(error),
                       device::stickyText(group.device).c_str());
  }
}

}  // namespace emu::ep
