#include "ep/ht/combine_run.h"
#include "ep/ht/execution.h"
#include "ep/ht/stages.h"
#include "ep/operations.h"
#include "ep/tensor.h"

namespace emu::ep {

namespace {

constexpr size_t kMostExpertMajorTopk = 32;

struct Weights {
  Tensor in, out;
};

void checkBackward(Call& call, const Handle& handle, const CombineArguments& a, Weights* w) {
  if (!w->in.present) call.invalidArgument("inputs.topk_weights is NULL");
  if (!w->out.present) call.invalidArgument("outputs.topk_weights is NULL");
  if (w->out.type != ncclFloat32 || w->out.ndim != 2 || w->out.sizes[0] != a.tokenCount) {
    call.aborts("outputs.topk_weights must be f32 [%zu,%zu]", a.tokenCount, handle.topk);
  }
  if (w->in.type != ncclFloat32) call.aborts("inputs.topk_weights is %s, expected f32", typeName(w->in.type));
  if (w->in.empty != a.tokens.empty) {
    call.invalidArgument("inputs.tokens and inputs.topk_weights must both be empty, or neither");
  }
  if (handle.expertMajor() ? w->in.ndim != 1 : w->in.ndim != 2 || w->in.sizes[1] != w->out.sizes[1]) {
    call.aborts("inputs.topk_weights has the wrong shape");
  }
}

void checkOutput(Call& call, const CombineArguments& a) {
  if (!a.outTokens.present) call.aborts("outputs.tokens is NULL");
  if (a.outTokens.ndim == 0) call.invalidArgument("outputs.tokens has no dimensions");
  if (!a.outTokens.is(a.tokenCount, a.tokens.sizes[1])) {
    call.aborts("outputs.tokens must be [%zu,%zu]", a.tokenCount, a.tokens.sizes[1]);
  }
}

void checkKernel(Call& call, const Handle& handle, size_t elements, size_t rowBytes) {
  checkStages(call, *handle.group, {"NCCL_EP_COMBINE_NUM_STAGES_G2S", "NCCL_EP_COMBINE_NUM_STAGES_S2G"}, rowBytes);
  if (elements % 8 != 0) call.aborts("%zu elements per row are no multiple of 8", elements);
  if (!handle.expertMajor()) return;
  if (handle.topk > kMostExpertMajorTopk && !handle.duplicates()) {
    call.aborts("num_topk %zu, EXPERT_MAJOR combines %zu", handle.topk, kMostExpertMajorTopk);
  }
  checkLocalDup(call, handle, 10 * rowBytes + 136);
}

// What the real library takes and gets wrong.
void checkStrictly(Call& call, const Handle& handle, const CombineArguments& a, const Weights& w) {
  const Shape& shape = handle.group->shape;
  if (a.tokenCount > shape.maxDispatch) {
    call.undefined("%zu tokens, max_dispatch_tokens_per_rank is %zu", a.tokenCount, shape.maxDispatch);
  }
  if (a.tokens.rowBytes() > shape.maxTokenBytes) {
    call.undefined("rows of %zu bytes overrun staging made for max_token_bytes %zu", a.tokens.rowBytes(),
                   shape.maxTokenBytes);
  }
  if (a.outTokens.type != a.tokens.type) {
    call.undefined("outputs.tokens is %s, inputs.tokens %s", typeName(a.outTokens.type), typeName(a.tokens.type));
  }
  checkWindow(call, "inputs.tokens", handle.group->comm, a.tokens);
  if (!a.backward) return;
  if (w.out.sizes[1] != handle.topk) {
    call.undefined("outputs.topk_weights has %zu columns, the handle %zu", w.out.sizes[1], handle.topk);
  }
  if (w.in.sizes[0] < a.tokens.sizes[0]) {
    call.undefined("inputs.topk_weights has %zu rows, inputs.tokens %zu", w.in.sizes[0], a.tokens.sizes[0]);
  }
  if (a.tokens.sizes[0] <= shape.maxReceive) return;
  call.undefined("a backward combine of %zu rows overruns buffers of max_recv_tokens_per_rank %zu",
                 a.tokens.sizes[0], shape.maxReceive);
}

}  // namespace

void combineHt(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& a, cudaStream_t stream) {
  const Group& group = *handle->group;
  if (a.tokens.ndim == 0) call.invalidArgument("inputs.tokens has no dimensions");
  if (a.tokens.ndim != 2) call.aborts("inputs.tokens has %u dimensions, expected 2", a.tokens.ndim);
  const size_t rowBytes = a.tokens.rowBytes();
  if (rowBytes % 16 != 0) call.aborts("rows of %zu bytes are no multiple of 16", rowBytes);
  Weights weights;
  weights.in = decodeOptional(call, "inputs.topk_weights", a.inputs.topk_weights);
  if (a.backward) {
    weights.out = decodeOptional(call, "outputs.topk_weights", a.outputs.topk_weights);
    checkBackward(call, *handle, a, &weights);
  } else if (weights.in.present) {
    call.invalidArgument("a forward combine has no inputs.topk_weights");
  }
  checkOutput(call, a);
  if (group.zeroCopyOn && !windowed(a.tokens)) {
    call.invalidArgument("zero_copy is ON, but inputs.tokens lies in no window");
  }
  const bool permutes = handle->expertMajor() && !handle->duplicates();
  auto op = std::make_shared<HtCombine>();
  op->tokensWindow = permutes ? 0 : windowPlace(group.comm, a.tokens);
  for (auto [name, tensor] : {std::pair<const char*, Tensor*>{"inputs.tokens", &a.tokens},
                              {"outputs.tokens", &a.outTokens},
                              {"inputs.topk_weights", &weights.in},
                              {"outputs.topk_weights", &weights.out}}) {
    resolveWindow(call, name, group.comm, tensor);
  }
  checkKernel(call, *handle, a.tokens.sizes[1], rowBytes);
  checkStrictly(call, *handle, a, weights);

  op->plan = HtPlan(call.function(), *handle, a.tokenCount);
  op->backward = a.backward;
  op->type = a.tokens.type;
  op->elements = a.tokens.sizes[1];
  op->rowBytes = rowBytes;
  op->inRows = a.tokens.sizes[0];
  op->in = a.tokens.data;
  op->inWeights = weights.in.as<const float>();
  op->out = a.outTokens.data;
  op->outWeights = weights.out.as<float>();
  return submitMove(call, op, stream);
}

}  // namespace emu::ep
