#include "cuda/device.h"
#include "ep/ht/dispatch_run.h"
#include "ep/ht/execution.h"
#include "ep/ht/stages.h"
#include "ep/operations.h"
#include "ep/release.h"
#include "ep/tensor.h"

namespace emu::ep {

namespace {

// One HT dispatch between its call and its launch.
class Launch {
 public:
  Launch(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments, cudaStream_t stream)
      : call_(call), handle_(*handle), group_(*handle->group), a_(arguments), stream_(stream),
        op_(std::make_shared<HtDispatch>()), capturing_(isCapturing(stream)) {}

  void run() {
    checkInputs();
    checkOutputTokens();
    checkWeights();
    chooseRule();
    checkCount();
    checkKernel();
    // The real library launches its collective kernel here: what fails now costs this rank its outputs and nobody
    // else's.
    const auto late = refusalOf([&] {
      checkLate();
      checkStrictly();
    });
    fill(!late);
    submitMove(call_, op_, stream_);
    if (late) throw *late;
  }

 private:
  size_t budget() const { return group_.shape.maxReceive; }
  bool permutes() const { return handle_.expertMajor() && !handle_.duplicates(); }

  void checkInputs() {
    inWeights_ = decodeOptional(call_, "inputs.topk_weights", a_.inputs.topk_weights);
    weights_ = decodeOptional(call_, "outputs.topk_weights", a_.outputs.topk_weights);
    ids_ = decodeOptional(call_, "outputs.topk_idx", a_.outputs.topk_idx);
    const Shape& shape = group_.shape;
    checkTokenCount(call_, shape, a_);
    const size_t rowBytes = a_.tokens.rowBytes();
    if (rowBytes > shape.maxTokenBytes) {
      call_.aborts("rows of %zu bytes exceed max_token_bytes %zu", rowBytes, shape.maxTokenBytes);
    }
    for (auto [name, tensor] : {std::pair<const char*, Tensor*>{"inputs.tokens", &a_.tokens},
                                {"inputs.scales", &a_.scales},
                                {"inputs.topk_weights", &inWeights_}}) {
      resolveWindow(call_, name, group_.comm, tensor);
    }
    if (shape.teamExperts() % 4 != 0) {
      call_.aborts("%zu experts of an LSA team are no multiple of 4", shape.teamExperts());
    }
    if (rowBytes % 16 != 0) call_.aborts("rows of %zu bytes are no multiple of 16", rowBytes);
  }

  void checkOutputTokens() {
    if (!a_.outTokens.present) call_.aborts("outputs.tokens is NULL");
    if (a_.outTokens.ndim < 2) call_.invalidArgument("outputs.tokens has %u dimensions, expected 2", a_.outTokens.ndim);
    if (group_.eager && capturing_) call_.invalidUsage("a group without max_recv_tokens_per_rank cannot be captured");
    if (!group_.eager && a_.outTokens.sizes[0] < budget()) {
      call_.invalidArgument("outputs.tokens has %zu rows, max_recv_tokens_per_rank is %zu",
                            a_.outTokens.sizes[0], budget());
    }
    if (a_.forwardsScales() && windowed(a_.outTokens) != windowed(a_.outScales)) {
      call_.invalidArgument("outputs.tokens and outputs.scales must both lie in windows, or neither");
    }
  }

  void checkWeights() {
    if (a_.backward) {
      if (inWeights_.present || weights_.present || ids_.present) {
        call_.invalidArgument("a backward dispatch has no weights and no topk_idx");
      }
      return;
    }
    if (!inWeights_.present) call_.invalidArgument("inputs.topk_weights is NULL");
    if (inWeights_.type != ncclFloat32 || !inWeights_.is(a_.tokenCount, handle_.topk)) {
      call_.aborts("inputs.topk_weights must be f32 [%zu,%zu]", a_.tokenCount, handle_.topk);
    }
  }

  void chooseRule() {
    if (group_.zeroCopyOn && !windowed(a_.outTokens)) {
      call_.invalidArgument("zero_copy is ON, but outputs.tokens lies in no window");
    }
    const bool direct = windowed(a_.outTokens) && (!a_.forwardsScales() || windowed(a_.outScales));
    for (auto [name, tensor] : {std::pair<const char*, Tensor*>{"outputs.tokens", &a_.outTokens},
                                {"outputs.scales", &a_.outScales},
                                {"outputs.topk_weights", &weights_},
                                {"outputs.topk_idx", &ids_}}) {
      resolveWindow(call_, name, group_.comm, tensor);
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
  }

  // Waits for the work before on the stream and reads how many rows the last update left.
  void readCount(size_t* count) {
    const cudaError_t error = drain(stream_);
    if (error != cudaSuccess) {
      call_.throws("the device has failed (%d): %s", static_cast<int>(error),
                   device::stickyText(group_.device).c_str());
    }
    const HtPlan plan(call_.function(), handle_, a_.tokenCount);
    *count = plan.keptRows(SIZE_MAX);
  }

  void checkCount() {
    metaRows_ = budget();
    // 0.2.0 has the counts on the device; it does not read them where the budget bounds what arrives.
    if (op_->rule == RowsRule::Counted && (group_.eager || !release020())) {
      readCount(&metaRows_);
      if (a_.outTokens.sizes[0] < metaRows_) {
        call_.invalidArgument("outputs.tokens has %zu rows, %zu are received", a_.outTokens.sizes[0], metaRows_);
      }
    }
    const size_t least = group_.eager ? metaRows_ : budget();
    if (a_.forwardsScales() && a_.outScales.sizes[0] < least) {
      call_.invalidArgument("outputs.scales has %zu rows, %zu are needed", a_.outScales.sizes[0], least);
    }
    if (!a_.backward && weights_.present && weights_.empty != a_.outTokens.empty) {
      call_.invalidArgument("outputs.tokens and outputs.topk_weights must both be empty, or neither");
    }
  }

  void checkKernel() {
    const Shape& shape = group_.shape;
    const size_t columns = handle_.duplicates() ? handle_.topk : shape.teamSize();
    if (product(shape.maxDispatch, columns) % 4 != 0) {
      call_.aborts("max_dispatch_tokens_per_rank * %zu slot columns is no multiple of 4", columns);
    }
    const size_t rowBytes = a_.tokens.rowBytes() + a_.wireScaleBytes();
    checkStages(call_, group_, {"NCCL_EP_DISPATCH_NUM_STAGES"}, rowBytes);
    const size_t weights = a_.backward ? 0 : shape.teamExperts() * sizeof(float);
    checkLocalDup(call_, handle_, 8 * (rowBytes + weights) + 136);
  }

  void checkLate() {
    if (a_.outTokens.ndim != 2) call_.aborts("outputs.tokens has %u dimensions, expected 2", a_.outTokens.ndim);
    if (!a_.backward) {
      checkReceivedWeights();
    }
    if (!permutes()) return;
    if (a_.tokens.rowBytes() == 0) call_.invalidArgument("rows have no bytes");
    if (group_.shape.local() > 256) call_.aborts("%zu experts per rank, EXPERT_MAJOR takes 256", group_.shape.local());
  }

  void checkReceivedWeights() {
    if (!weights_.present) call_.invalidArgument("outputs.topk_weights is NULL");
    if (handle_.expertMajor() && ids_.present) call_.invalidArgument("outputs.topk_idx must be NULL for EXPERT_MAJOR");
    if (!handle_.expertMajor() && !ids_.present) call_.invalidArgument("outputs.topk_idx is NULL");
    if (weights_.type != ncclFloat32) call_.aborts("outputs.topk_weights is %s, expected f32", typeName(weights_.type));
    if (weights_.ndim != (handle_.expertMajor() ? 1u : 2u)) {
      call_.aborts("outputs.topk_weights has %u dimensions", weights_.ndim);
    }
    if (!handle_.expertMajor()) {
      if (ids_.type != ncclInt64 || ids_.ndim != 2) call_.aborts("outputs.topk_idx must be i64 with 2 dimensions");
      if (weights_.sizes[0] != ids_.sizes[0]) {
        call_.invalidArgument("outputs.topk_weights and outputs.topk_idx differ in rows");
      }
    }
    if (weights_.sizes[0] >= metaRows_) return;
    call_.invalidArgument("outputs.topk_weights has %zu rows, %zu are needed", weights_.sizes[0], metaRows_);
  }

  // What the real library takes and gets wrong.
  void checkStrictly() {
    checkWindow(call_, "outputs.tokens", group_.comm, a_.outTokens);
    if (a_.outTokens.sizes[1] != a_.tokens.sizes[1] && a_.outTokens.sizes[0] != 0) {
      call_.undefined("outputs.tokens has %zu columns, inputs.tokens %zu", a_.outTokens.sizes[1], a_.tokens.sizes[1]);
    }
    if (a_.backward || handle_.expertMajor() || weights_.sizes[0] == 0) return;
    if (weights_.sizes[1] == handle_.topk && ids_.sizes[1] == handle_.topk) return;
    call_.undefined("outputs.topk_weights and outputs.topk_idx must have %zu columns", handle_.topk);
  }

  void fill(bool delivers) {
    HtDispatch& op = *op_;
    op.plan = HtPlan(call_.function(), handle_, a_.tokenCount);
    op.copiesBudget = release020();
    op.backward = a_.backward;
    op.delivers = delivers;
    op.setRows(a_);
    op.outRows = a_.outTokens.sizes[0];
    op.globalIds = a_.info.recv_topk_idx_kind == NCCL_EP_EXPERT_ID_GLOBAL;
    op.badIdKind = !handle_.expertMajor() && !a_.backward && a_.info.recv_topk_idx_kind > NCCL_EP_EXPERT_ID_GLOBAL;
    op.inWeights = inWeights_.as<const float>();
    op.outWeights = a_.backward ? nullptr : weights_.as<float>();
    op.outIds = a_.backward ? nullptr : ids_.as<int64_t>();
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

void dispatchHt(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments,
                        cudaStream_t stream) {
  Launch(call, handle, arguments, stream).run();
}

}  // namespace emu::ep
