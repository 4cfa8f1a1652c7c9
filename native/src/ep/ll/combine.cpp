#include "ep/ll/combine.h"

#include "ep/operations.h"

namespace emu::ep {

namespace {

// The emulator's own model of the kernel's shared memory: so much for each warp of a group.
constexpr int kSharedMemoryPerWarp = 4096 + 16;
constexpr int kLeastWarps = 2;

ncclResult_t checkShapes(Call& call, const Handle& handle, const CombineArguments& a, Tensor* weights) {
  const Shape& shape = handle.group->shape;
  const size_t outer = handle.expertMajor() ? shape.local() : shape.ranks;
  const size_t inner = handle.expertMajor() ? product(shape.ranks, shape.maxDispatch) : shape.maxDispatch;
  if (handle.expertMajor()) {
    if (a.outputs.topk_weights == nullptr) {
      return call.throws("outputs.topk_weights is NULL: EXPERT_MAJOR reads the routing weights there");
    }
    if (auto failure = decodeRequired(call, "outputs.topk_weights", a.outputs.topk_weights, weights)) return failure;
    if (weights->type != ncclFloat32 || !weights->is(a.tokenCount, handle.topk)) {
      return call.aborts("outputs.topk_weights must be f32 [%zu,%zu]", a.tokenCount, handle.topk);
    }
  }
  if (!a.tokens.is(outer, inner, a.tokens.sizes[2])) {
    return call.aborts("inputs.tokens must be [%zu,%zu,hidden]", outer, inner);
  }
  const size_t hidden = a.tokens.sizes[2];
  if (!a.outTokens.present) return call.aborts("outputs.tokens is NULL");
  if (!handle.updated) return call.aborts("the handle has no routing yet");
  if (!a.outTokens.is(a.tokenCount, hidden)) {
    return call.aborts("outputs.tokens must be [%zu,%zu]", a.tokenCount, hidden);
  }
  if (a.recipe == NCCL_EP_COMB_QUANT_NVFP4) {
    if (hidden == 0 || hidden % 512 != 0) {
      return call.invalidArgument("%zu elements per row are no multiple of 512", hidden);
    }
  } else if (hidden % 128 != 0) {
    return call.aborts("%zu elements per row are no multiple of 128", hidden);
  }
  if (a.outTokens.type != a.tokens.type) {
    return call.aborts("outputs.tokens is %s, inputs.tokens %s", typeName(a.outTokens.type), typeName(a.tokens.type));
  }
  return ncclSuccess;
}

// Takes warps away until the kernel fits.
ncclResult_t fitSharedMemory(Call& call, Group& group) {
  const int limit = group.sharedMemoryLimit;
  const int groups = static_cast<int>(group.warpGroups());
  int warps = static_cast<int>(group.warpsPerGroup());
  while (warps >= kLeastWarps && warps * groups * kSharedMemoryPerWarp > limit) --warps;
  if (warps < kLeastWarps) return call.invalidArgument("%d bytes of shared memory are too few", limit);
  group.lastCombineWarps = warps;
  return ncclSuccess;
}

}  // namespace

ncclResult_t combineLl(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& a, cudaStream_t stream) {
  Tensor weights;
  if (auto failure = checkShapes(call, *handle, a, &weights)) return failure;
  Group& group = *handle->group;
  const size_t hidden = a.tokens.sizes[2];
  const bool fp4 = a.recipe == NCCL_EP_COMB_QUANT_NVFP4;
  const size_t rowBytes = product(hidden, elementBytes(a.tokens.type));
  if (!fp4 && (hidden == 0 || hidden % 512 != 0)) {
    return call.internalError("%zu elements per row are no multiple of 512", hidden);
  }
  if (auto failure = fitSharedMemory(call, group)) return failure;
  // What the real library takes and gets wrong.
  if (a.tokenCount > group.shape.maxDispatch) {
    return call.undefined("%zu tokens, max_dispatch_tokens_per_rank is %zu", a.tokenCount, group.shape.maxDispatch);
  }
  if (rowBytes > group.shape.maxTokenBytes) {
    return call.undefined("rows of %zu bytes overrun message slots made for max_token_bytes %zu", rowBytes,
                          group.shape.maxTokenBytes);
  }

  auto op = std::make_shared<LlCombine>();
  op->fix(call, *handle, Operation::Combine, a.config.send_only != 0, a.tokenCount);
  op->fp4 = fp4;
  op->elements = hidden;
  op->type = a.tokens.type;
  op->rowBytes = rowBytes;
  op->in = a.tokens.data;
  op->inScales = reinterpret_cast<const float*>(a.scales.data);
  op->weights = reinterpret_cast<const float*>(weights.data);
  op->out = a.outTokens.data;
  const bool weighted = handle->expertMajor();
  return submitLl(call, *handle, op, stream, [a, weighted](Continuation* continuation, LlCombine* later) {
    continuation->refresh("outputs.tokens", a.outputs.tokens, &later->out);
    if (weighted) continuation->refresh("outputs.topk_weights", a.outputs.topk_weights, &later->weights);
  });
}

}  // namespace emu::ep
