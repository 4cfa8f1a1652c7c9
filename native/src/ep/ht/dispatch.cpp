#include "cuda/device.h"
#include "ep/ht/dispatch_run.h"
#include "ep/ht/execution.h"
#include "ep/ht/stages.h"
#include "ep/operations.h"
#include "ep/release.h"
#include "ep/window.h"

namespace emu::ep {

namespace {

// One HT dispatch between its call and its launch.
class Launch {
 public:
  Launch(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments, cudaStream_t stream)
      : call_(call), handle_(*handle), group_(*handle->group), a_(arguments), stream_(stream),
        op_(std::make_shared<HtDispatch>()), capturing_(isCapturing(stream)) {}

  ncclResult_t run() {
    if (auto failure = checkInputs()) return failure;
    if (auto failure = checkOutputTokens()) return failure;
    if (auto failure = checkWeights()) return failure;
    if (auto failure = chooseRule()) return failure;
    if (auto failure = checkCount()) return failure;
    if (auto failure = checkKernel()) return failure;
    // The real library launches its collective kernel here: what fails now costs this rank its outputs and nobody
    // else's.
    ncclResult_t late = checkLate();
    if (late == ncclSuccess) late = checkStrictly();
    fill(late == ncclSuccess);
    if (auto failure = submitMove(call_, op_, stream_)) return failure;
    return late;
  }

 private:
  size_t budget() const { return group_.shape.maxReceive; }
  bool permutes() const { return handle_.expertMajor() && !handle_.duplicates(); }

  ncclResult_t checkInputs() {
    if (auto failure = decodeOptional(call_, "inputs.topk_weights", a_.inputs.topk_weights, &inWeights_)) {
      return failure;
    }
    if (auto failure = decodeOptional(call_, "outputs.topk_weights", a_.outputs.topk_weights, &weights_)) {
      return failure;
    }
    if (auto failure = decodeOptional(call_, "outputs.topk_idx", a_.outputs.topk_idx, &ids_)) return failure;
    const Shape& shape = group_.shape;
    if (a_.tokens.sizes[0] != a_.tokenCount) {
      return call_.aborts("inputs.tokens has %zu rows, topk_idx %zu", a_.tokens.sizes[0], a_.tokenCount);
    }
    if (a_.tokenCount > shape.maxDispatch) {
      return call_.aborts("%zu tokens, max_dispatch_tokens_per_rank is %zu", a_.tokenCount, shape.maxDispatch);
    }
    const size_t rowBytes = a_.tokens.rowBytes();
    if (rowBytes > shape.maxTokenBytes) {
      return call_.aborts("rows of %zu bytes exceed max_token_bytes %zu", rowBytes, shape.maxTokenBytes);
    }
    for (auto [name, tensor] : {std::pair<const char*, Tensor*>{"inputs.tokens", &a_.tokens},
                                {"inputs.scales", &a_.scales},
                                {"inputs.topk_weights", &inWeights_}}) {
      if (auto failure = resolveWindow(call_, name, group_.comm, tensor)) return failure;
    }
    if (shape.teamExperts() % 4 != 0) {
      return call_.aborts("%zu experts of an LSA team are no multiple of 4", shape.teamExperts());
    }
    if (rowBytes % 16 != 0) return call_.aborts("rows of %zu bytes are no multiple of 16", rowBytes);
    return ncclSuccess;
  }

  ncclResult_t checkOutputTokens() {
    if (!a_.outTokens.present) return call_.aborts("outputs.tokens is NULL");
    if (a_.outTokens.ndim < 2) {
      return call_.invalidArgument("outputs.tokens has %u dimensions, expected 2", a_.outTokens.ndim);
    }
    if (group_.eager && capturing_) {
      return call_.invalidUsage("a group without max_recv_tokens_per_rank cannot be captured");
    }
    if (!group_.eager && a_.outTokens.sizes[0] < budget()) {
      return call_.invalidArgument("outputs.tokens has %zu rows, max_recv_tokens_per_rank is %zu",
                                   a_.outTokens.sizes[0], budget());
    }
    if (a_.forwardsScales() && windowed(a_.outTokens) != windowed(a_.outScales)) {
      return call_.invalidArgument("outputs.tokens and outputs.scales must both lie in windows, or neither");
    }
    return ncclSuccess;
  }

  ncclResult_t checkWeights() {
    if (a_.backward) {
      if (inWeights_.present || weights_.present || ids_.present) {
        return call_.invalidArgument("a backward dispatch has no weights and no topk_idx");
      }
      return ncclSuccess;
    }
    if (!inWeights_.present) return call_.invalidArgument("inputs.topk_weights is NULL");
    if (inWeights_.type != ncclFloat32 || !inWeights_.is(a_.tokenCount, handle_.topk)) {
      return call_.aborts("inputs.topk_weights must be f32 [%zu,%zu]", a_.tokenCount, handle_.topk);
    }
    return ncclSuccess;
  }

  ncclResult_t chooseRule() {
    if (group_.zeroCopyOn && !windowed(a_.outTokens)) {
      return call_.invalidArgument("zero_copy is ON, but outputs.tokens lies in no window");
    }
    const bool direct = windowed(a_.outTokens) && (!a_.forwardsScales() || windowed(a_.outScales));
    for (auto [name, tensor] : {std::pair<const char*, Tensor*>{"outputs.tokens", &a_.outTokens},
                                {"outputs.scales", &a_.outScales},
                                {"outputs.topk_weights", &weights_},
                                {"outputs.topk_idx", &ids_}}) {
      if (auto failure = resolveWindow(call_, name, group_.comm, tensor)) return failure;
    }
    if (direct && !permutes()) {
      op_->tokensWindow = windowPlace(group_.comm, a_.outTokens);
      op_->scalesWindow = a_.forwardsScales() ? windowPlace(group_.comm, a_.outScales) : 0;
    }
    if (group_.eager) {
      op_->rule = RowsRule::Counted;
    } else if (permutes()) {
      op_->rule = RowsRule::Zones;
    } else {
      op_->rule = direct ? RowsRule::Direct : capturing_ ? RowsRule::Captured : RowsRule::Counted;
    }
    return ncclSuccess;
  }

  // Waits for the work before on the stream and reads how many rows the last update left.
  ncclResult_t readCount(size_t* count) {
    const cudaError_t error = drain(stream_);
    if (error != cudaSuccess) {
      return call_.throws("the device has failed (%d): %s", static_cast<int>(error),
                          device::stickyText(group_.device).c_str());
    }
    const HtPlan plan(call_.function(), handle_, a_.tokenCount);
    *count = plan.keptRows(SIZE_MAX);
    return ncclSuccess;
  }

  ncclResult_t checkCount() {
    metaRows_ = budget();
    // 0.2.0 has the counts on the device; it does not read them where the budget bounds what arrives.
    if (op_->rule == RowsRule::Counted && (group_.eager || !release020())) {
      if (auto failure = readCount(&metaRows_)) return failure;
      if (a_.outTokens.sizes[0] < metaRows_) {
        return call_.invalidArgument("outputs.tokens has %zu rows, %zu are received", a_.outTokens.sizes[0], metaRows_);
      }
    }
    const size_t least = group_.eager ? metaRows_ : budget();
    if (a_.forwardsScales() && a_.outScales.sizes[0] < least) {
      return call_.invalidArgument("outputs.scales has %zu rows, %zu are needed", a_.outScales.sizes[0], least);
    }
    if (!a_.backward && weights_.present && weights_.empty != a_.outTokens.empty) {
      return call_.invalidArgument("outputs.tokens and outputs.topk_weights must both be empty, or neither");
    }
    return ncclSuccess;
  }

  ncclResult_t checkKernel() {
    const Shape& shape = group_.shape;
    const size_t columns = handle_.duplicates() ? handle_.topk : shape.teamSize();
    if (product(shape.maxDispatch, columns) % 4 != 0) {
      return call_.aborts("max_dispatch_tokens_per_rank * %zu slot columns is no multiple of 4", columns);
    }
    if (auto failure = checkDispatchStages(call_, group_, a_.tokens.rowBytes() + a_.wireScaleBytes())) return failure;
    if (handle_.duplicates() && group_.mode == ExpertMode::LocalDup) {
      const size_t weights = a_.backward ? 0 : shape.teamExperts() * sizeof(float);
      const size_t bytes = 8 * (a_.tokens.rowBytes() + weights + a_.wireScaleBytes()) + 136;
      const auto limit = static_cast<size_t>(group_.sharedMemoryLimit.load());
      if (bytes > limit) return call_.aborts("rows need %zu bytes of shared memory, there are %zu", bytes, limit);
    }
    return ncclSuccess;
  }

  ncclResult_t checkLate() {
    if (a_.outTokens.ndim != 2) return call_.aborts("outputs.tokens has %u dimensions, expected 2", a_.outTokens.ndim);
    if (!a_.backward) {
      if (auto failure = checkReceivedWeights()) return failure;
    }
    if (!permutes()) return ncclSuccess;
    if (a_.tokens.rowBytes() == 0) return call_.invalidArgument("rows have no bytes");
    if (group_.shape.local() > 256) {
      return call_.aborts("%zu experts per rank, EXPERT_MAJOR takes 256", group_.shape.local());
    }
    return ncclSuccess;
  }

  ncclResult_t checkReceivedWeights() {
    if (!weights_.present) return call_.invalidArgument("outputs.topk_weights is NULL");
    if (handle_.expertMajor() && ids_.present) {
      return call_.invalidArgument("outputs.topk_idx must be NULL for EXPERT_MAJOR");
    }
    if (!handle_.expertMajor() && !ids_.present) return call_.invalidArgument("outputs.topk_idx is NULL");
    if (weights_.type != ncclFloat32) {
      return call_.aborts("outputs.topk_weights is %s, expected f32", typeName(weights_.type));
    }
    if (weights_.ndim != (handle_.expertMajor() ? 1u : 2u)) {
      return call_.aborts("outputs.topk_weights has %u dimensions", weights_.ndim);
    }
    if (!handle_.expertMajor()) {
      if (ids_.type != ncclInt64 || ids_.ndim != 2) {
        return call_.aborts("outputs.topk_idx must be i64 with 2 dimensions");
      }
      if (weights_.sizes[0] != ids_.sizes[0]) {
        return call_.invalidArgument("outputs.topk_weights and outputs.topk_idx differ in rows");
      }
    }
    if (weights_.sizes[0] >= metaRows_) return ncclSuccess;
    return call_.invalidArgument("outputs.topk_weights has %zu rows, %zu are needed", weights_.sizes[0], metaRows_);
  }

  // What the real library takes and gets wrong.
  ncclResult_t checkStrictly() {
    if (auto failure = checkWindow(call_, "outputs.tokens", group_.comm, a_.outTokens)) return failure;
    if (a_.outTokens.sizes[1] != a_.tokens.sizes[1] && a_.outTokens.sizes[0] != 0) {
      return call_.undefined("outputs.tokens has %zu columns, inputs.tokens %zu", a_.outTokens.sizes[1],
                             a_.tokens.sizes[1]);
    }
    if (a_.backward || handle_.expertMajor() || weights_.sizes[0] == 0) return ncclSuccess;
    if (weights_.sizes[1] == handle_.topk && ids_.sizes[1] == handle_.topk) return ncclSuccess;
    return call_.undefined("outputs.topk_weights and outputs.topk_idx must have %zu columns", handle_.topk);
  }

  void fill(bool delivers) {
    HtDispatch& op = *op_;
    op.plan = HtPlan(call_.function(), handle_, a_.tokenCount);
    op.copiesBudget = release020();
    op.backward = a_.backward;
    op.delivers = delivers;
    op.tokenBytes = a_.tokens.rowBytes();
    op.scaleBytes = a_.wireScaleBytes();
    op.outRows = a_.outTokens.sizes[0];
    op.globalIds = a_.info.recv_topk_idx_kind == NCCL_EP_EXPERT_ID_GLOBAL;
    op.badIdKind = !handle_.expertMajor() && !a_.backward && a_.info.recv_topk_idx_kind > NCCL_EP_EXPERT_ID_GLOBAL;
    op.in = a_.tokens.data;
    op.inScales = a_.scales.data;
    op.inWeights = reinterpret_cast<const float*>(inWeights_.data);
    op.out = a_.outTokens.data;
    op.outScales = a_.outScales.data;
    op.outWeights = a_.backward ? nullptr : reinterpret_cast<float*>(weights_.data);
    op.outIds = a_.backward ? nullptr : reinterpret_cast<int64_t*>(ids_.data);
  }

  Call& call_;
  Handle& handle_;
  Group& group_;
  DispatchArguments& a_;
  cudaStream_t stream_;
  std::shared_ptr<HtDispatch> op_;
  const bool capturing_;
  Tensor inWeights_, weights_, ids_;
  size_t metaRows_ = 0;  // rows of ids and weights that the outputs must hold
};

}  // namespace

ncclResult_t dispatchHt(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments,
                        cudaStream_t stream) {
  return Launch(call, handle, arguments, stream).run();
}

}  // namespace emu::ep
