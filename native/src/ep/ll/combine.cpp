#include "ep/ll/combine.h"

#include "ep/operations.h"

namespace emu::ep {

namespace {

// The emulator's own model of the kernel's shared memory: so much for each warp of a group.
constexpr int kSharedMemoryPerWarp = 4096 + 16;
constexpr int kLeastWarps = 2;

void checkShapes(Call& call, const Handle& handle, const CombineArguments& a, LlCombine* op) {
  const Shape& shape = handle.group->shape;
  const size_t outer = handle.expertMajor() ? shape.local() : shape.ranks;
  const size_t inner = handle.expertMajor() ? product(shape.ranks, shape.maxDispatch) : shape.maxDispatch;
  if (handle.expertMajor()) {
    if (a.outputs.topk_weights == nullptr) {
      call.throws("outputs.topk_weights is NULL: EXPERT_MAJOR reads the routing weights there");
    }
    const Tensor weights = decodeRequired(call, "outputs.topk_weights", a.outputs.topk_weights);
    if (weights.type != ncclFloat32 || !weights.is(a.tokenCount, handle.topk)) {
      call.aborts("outputs.topk_weights must be f32 [%zu,%zu]", a.tokenCount, handle.topk);
    }
    op->weights = weights.as<const float>();
  }
  if (!a.tokens.is(outer, inner, a.tokens.sizes[2])) {
    call.aborts("inputs.tokens must be [%zu,%zu,hidden]", outer, inner);
  }
  const size_t hidden = a.tokens.sizes[2];
  if (!a.outTokens.present) call.aborts("outputs.tokens is NULL");
  if (!handle.updated) call.aborts("the handle has no routing yet");
  if (!a.outTokens.is(a.tokenCount, hidden)) call.aborts("outputs.tokens must be [%zu,%zu]", a.tokenCount, hidden);
  if (a.recipe == NCCL_EP_COMB_QUANT_NVFP4) {
    if (hidden == 0 || hidden % 512 != 0) call.invalidArgument("%zu elements per row are no multiple of 512", hidden);
  } else if (hidden % 128 != 0) {
    call.aborts("%zu elements per row are no multiple of 128", hidden);
  }
  if (a.outTokens.type != a.tokens.type) {
    call.aborts("outputs.tokens is %s, inputs.tokens %s", typeName(a.outTokens.type), typeName(a.tokens.type));
  }
}

// Takes warps away until the kernel fits.
void fitSharedMemory(Call& call, Group& group) {
  const int limit = group.sharedMemoryLimit;
  const int groups = static_cast<int>(group.warpGroups());
  int warps = static_cast<int>(group.warpsPerGroup());
  while (warps >= kLeastWarps && warps * groups * kSharedMemoryPerWarp > limit) --warps;
  if (warps < kLeastWarps) call.invalidArgument("%d bytes of shared memory are too few", limit);
  group.lastCombineWarps = warps;
}

}  // namespace

void combineLl(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& a, cudaStream_t stream) {
  auto op = std::make_shared<LlCombine>();
  checkShapes(call, *handle, a, op.get());
  Group& group = *handle->group;
  const size_t hidden = a.tokens.sizes[2];
  const bool fp4 = a.recipe == NCCL_EP_COMB_QUANT_NVFP4;
  const size_t rowBytes = product(hidden, elementBytes(a.tokens.type));
  if (!fp4 && (hidden == 0 || hidden % 512 != 0)) {
    call.internalError("%zu elements per row are no multiple of 512", hidden);
  }
  fitSharedMemory(call, group);
  // What the real library takes and gets wrong.
  if (a.tokenCount > group.shape.maxDispatch) {
    call.undefined("%zu tokens, max_dispatch_tokens_per_rank is %zu", a.tokenCount, group.shape.maxDispatch);
  }
  if (rowBytes > group.shape.maxTokenBytes) {
    call.undefined("rows of %zu bytes overrun message slots made for max_token_bytes %zu", rowBytes,
                   group.shape.maxTokenBytes);
  }

  op->fix(call, *handle, Operation::Combine, a.config.send_only != 0, a.tokenCount);
  op->fp4 = fp4;
  op->elements = hidden;
  op->type = a.tokens.type;
  op->rowBytes = rowBytes;
  op->in = a.tokens.data;
  op->inScales = a.scales.as<const float>();
  op->out = a.outTokens.data;
  const bool weighted = handle->expertMajor();
  submitLl(call, *handle, op, stream, [a, weighted](Call& later, LlCombine& rest) {
    refresh(later, "outputs.tokens", a.outputs.tokens, &rest.out);
    if (weighted) refresh(later, "outputs.topk_weights", a.outputs.topk_weights, &rest.weights);
  });
}

}  // namespace emu::ep
