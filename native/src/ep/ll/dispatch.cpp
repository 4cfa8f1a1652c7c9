#include "ep/ll/dispatch.h"

#include "ep/operations.h"
#include "ep/tensor.h"

namespace emu::ep {

namespace {

// A tensor of exactly this type and shape; anything else aborts.
template <class... Extents>
void check(Call& call, const char* name, const Tensor& t, ncclDataType_t type, Extents... extents) {
  if (t.type == type && t.is(extents...)) return;
  call.aborts("%s has the wrong type (%s, expected %s) or shape", name, typeName(t.type), typeName(type));
}

template <class Element, class... Extents>
Element* require(Call& call, const char* name, const ncclEpTensor_t* given, ncclDataType_t type, Extents... extents) {
  const Tensor tensor = decodeRequired(call, name, given);
  check(call, name, tensor, type, extents...);
  return tensor.as<Element>();
}

void forbid(Call& call, const char* name, const void* tensor) {
  if (tensor != nullptr) call.aborts("%s must be NULL in this layout", name);
}

void checkExpertMajor(Call& call, const Shape& shape, const DispatchArguments& a, LlDispatch* op) {
  const size_t rows = product(shape.ranks, shape.maxDispatch);
  if (!a.outTokens.is(shape.local(), rows, a.tokens.sizes[1])) {
    call.aborts("outputs.tokens must be [%zu,%zu,%zu]", shape.local(), rows, a.tokens.sizes[1]);
  }
  forbid(call, "inputs.topk_weights", a.inputs.topk_weights);
  forbid(call, "outputs.topk_weights", a.outputs.topk_weights);
  forbid(call, "outputs.topk_idx", a.outputs.topk_idx);
  if (!a.hasInfo) call.aborts("layout_info is NULL, but required for EXPERT_MAJOR");
  op->expertCounters = require<int32_t>(call, "expert_counters", a.info.expert_counters, ncclInt32, shape.local());
  return forbid(call, "src_rank_counters", a.info.src_rank_counters);
}

void checkRankMajor(Call& call, const Shape& shape, size_t topk, const DispatchArguments& a, LlDispatch* op) {
  const size_t ranks = shape.ranks;
  const size_t rows = shape.maxDispatch;
  if (!a.outTokens.is(ranks, rows, a.tokens.sizes[1])) {
    call.aborts("outputs.tokens must be [%zu,%zu,%zu]", ranks, rows, a.tokens.sizes[1]);
  }
  op->inWeights = require<float>(call, "inputs.topk_weights", a.inputs.topk_weights, ncclFloat32, a.tokenCount, topk);
  op->outWeights = require<float>(call, "outputs.topk_weights", a.outputs.topk_weights, ncclFloat32, ranks, rows, topk);
  op->outIds = require<int32_t>(call, "outputs.topk_idx", a.outputs.topk_idx, ncclInt32, ranks, rows, topk);
  forbid(call, "expert_counters", a.info.expert_counters);
  const Tensor counters = decodeOptional(call, "src_rank_counters", a.info.src_rank_counters);
  if (counters.present) check(call, "src_rank_counters", counters, ncclInt32, ranks);
  op->sourceCounters = counters.as<int32_t>();
}

// What the generated kernels refuse.
void checkRowLength(Call& call, const DispatchArguments& a) {
  const size_t hidden = a.tokens.sizes[1];
  if (a.recipe != NCCL_EP_DISP_QUANT_NONE) return;
  const size_t unit = elementBytes(a.tokens.type) == 2 ? 256 : 128;
  if (hidden != 0 && hidden % unit == 0) return;
  call.internalError("%zu elements per row are no multiple of %zu", hidden, unit);
}

void checkShapes(Call& call, const Handle& handle, const DispatchArguments& a, LlDispatch* op) {
  const Shape& shape = handle.group->shape;
  checkTokenCount(call, shape, a);
  const size_t unit = a.forwardsScales() ? a.tokens.rowBytes() : a.tokens.sizes[1];
  if (unit % 16 != 0) call.aborts("rows of %zu are no multiple of 16", unit);
  // The input row must fit whatever the recipe makes of it: for DS_FP8E3M4 it is twice as long as what travels.
  if (a.tokens.rowBytes() > shape.maxTokenBytes) {
    call.aborts("input rows of %zu bytes exceed max_token_bytes %zu", a.tokens.rowBytes(), shape.maxTokenBytes);
  }
  handle.expertMajor() ? checkExpertMajor(call, shape, a, op) : checkRankMajor(call, shape, handle.topk, a, op);
}

// Which outputs peers write directly; resolves those that have a window only.
void resolveWindows(Call& call, const Handle& handle, DispatchArguments& a, LlDispatch* op) {
  const Group& group = *handle.group;
  for (Tensor* tensor : {&a.outTokens, &a.outScales}) {
    resolveWindow(call, "outputs", group.comm, tensor);
  }
  const bool eligible = !handle.expertMajor() && !a.makesScales() && group.topology.teams() == 1;
  if (eligible) {
    op->tokensWindow = windowPlace(group.comm, a.outTokens);
    op->scalesWindow = windowPlace(group.comm, a.outScales);
  }
  if (group.zeroCopyOn && op->tokensWindow == 0 && op->scalesWindow == 0) {
    call.invalidArgument("zero_copy is ON, but no output lies in a window that peers can write");
  }
}

// What the real library takes and gets wrong.
void checkStrictly(Call& call, const Handle& handle, const DispatchArguments& a) {
  for (const Tensor* tensor : {&a.outTokens, &a.outScales}) {
    const bool resolved = tensor->present && tensor->descriptor->data == nullptr && !tensor->empty;
    if (a.config.send_only != 0 && resolved) call.undefined("window-only outputs do not outlive a send_only call");
  }
  if (handle.expertMajor() || a.makesScales() || handle.group->topology.teams() > 1) return;
  checkWindow(call, "outputs.tokens", handle.group->comm, a.outTokens);
  return checkWindow(call, "outputs.scales", handle.group->comm, a.outScales);
}

// The receive half reads the data pointers from the caller's descriptors again.
void renew(Call& call, const DispatchArguments& a, LlDispatch& op) {
  refresh(call, "outputs.tokens", a.outputs.tokens, &op.out);
  refresh(call, "outputs.scales", a.outputs.scales, &op.outScales);
  refresh(call, "outputs.topk_weights", op.rankMajor ? a.outputs.topk_weights : nullptr, &op.outWeights);
  refresh(call, "outputs.topk_idx", op.rankMajor ? a.outputs.topk_idx : nullptr, &op.outIds);
  refresh(call, "expert_counters", op.rankMajor ? nullptr : a.info.expert_counters, &op.expertCounters);
  refresh(call, "src_rank_counters", op.rankMajor ? a.info.src_rank_counters : nullptr, &op.sourceCounters);
}

}  // namespace

void dispatchLl(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& a, cudaStream_t stream) {
  auto op = std::make_shared<LlDispatch>();
  checkShapes(call, *handle, a, op.get());
  resolveWindows(call, *handle, a, op.get());
  if (!handle->updated) call.invalidArgument("the handle has no routing yet");
  checkRowLength(call, a);
  checkStrictly(call, *handle, a);

  op->fix(call, *handle, Operation::Dispatch, a.config.send_only != 0, a.tokenCount);
  op->elements = a.tokens.sizes[1];
  op->inputBytes = a.tokens.rowBytes();
  op->recipe = a.recipe;
  op->roundScales = a.config.round_scales != 0;
  op->idKind = a.info.recv_topk_idx_kind;
  op->setRows(a);
  submitLl(call, *handle, op, stream, [a](Call& later, LlDispatch& rest) { renew(later, a, rest); });
}

}  // namespace emu::ep
