#include "ep/recipe.h"

#include "base/options.h"
#include "ep/numeric/quantise.h"

namespace emu::ep {

namespace {

constexpr size_t kPacket = 16;  // bytes that move at once

bool isForwardableToken(ncclDataType_t type) {
  return isPlainFloat(type) || type == ncclFloat8e4m3 || type == ncclFloat8e5m2 || type == ncclFloat4x2;
}

bool isForwardableScale(ncclDataType_t type) {
  return isPlainFloat(type) || type == ncclFloat8e4m3 || type == ncclFloat8e5m2 || type == ncclUint8;
}

// Zones or source regions of an LL output, and the rows in each.
std::pair<size_t, size_t> llExtents(const Handle& handle) {
  const Shape& shape = handle.group->shape;
  if (handle.expertMajor()) return {shape.local(), product(shape.ranks, shape.maxDispatch)};
  return {shape.ranks, shape.maxDispatch};
}

void checkNone(Call& call, const DispatchArguments& a) {
  if (!isPlainFloat(a.tokens.type)) {
    call.invalidArgument("inputs.tokens is %s, expected bf16, f16 or f32", typeName(a.tokens.type));
  }
  if (!a.outTokens.present) call.invalidArgument("outputs.tokens is NULL");
  if (a.outTokens.type != a.tokens.type) {
    call.invalidArgument("outputs.tokens is %s, inputs.tokens %s", typeName(a.outTokens.type), typeName(a.tokens.type));
  }
  if (a.scales.present || a.outScales.present) call.invalidArgument("scales need a quantising recipe");
}

void checkAlignment(Call& call, const char* name, const Tensor& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.data) % kPacket != 0) {
    call.invalidArgument("%s is not aligned to 16 bytes", name);
  }
  if (tensor.window != nullptr && tensor.offset % kPacket != 0) {
    call.invalidArgument("%s: win_offset is not aligned to 16 bytes", name);
  }
}

void checkForwardOutputs(Call& call, const Handle& handle, const DispatchArguments& a) {
  const bool lowLatency = handle.group->lowLatency;
  const auto [outer, inner] = llExtents(handle);
  const size_t columns = a.tokens.sizes[1];
  const size_t scales = a.scales.sizes[1];
  if (a.outTokens.type != a.tokens.type) call.invalidArgument("outputs.tokens differs from inputs.tokens in type");
  if (lowLatency && !a.outTokens.is(outer, inner, columns)) {
    call.invalidArgument("outputs.tokens must be [%zu,%zu,%zu]", outer, inner, columns);
  }
  if (!lowLatency && (a.outTokens.ndim != 2 || a.outTokens.sizes[1] != columns)) {
    call.invalidArgument("outputs.tokens must be [rows,%zu]", columns);
  }
  if (a.outScales.type != a.scales.type) call.invalidArgument("outputs.scales differs from inputs.scales in type");
  if (lowLatency && !a.outScales.is(outer, inner, scales)) {
    call.invalidArgument("outputs.scales must be [%zu,%zu,%zu]", outer, inner, scales);
  }
  if (!lowLatency && !a.outScales.is(a.outTokens.sizes[0], scales)) {
    call.invalidArgument("outputs.scales must be [%zu,%zu]", a.outTokens.sizes[0], scales);
  }
}

void checkForward(Call& call, const Handle& handle, const DispatchArguments& a) {
  if (a.config.round_scales != 0) call.invalidArgument("round_scales does not go with forwarded scales");
  if (!isForwardableToken(a.tokens.type)) call.invalidArgument("inputs.tokens is %s", typeName(a.tokens.type));
  const size_t tokenBytes = a.tokens.rowBytes();
  if (tokenBytes == 0 || tokenBytes % kPacket != 0) call.invalidArgument("token rows of %zu bytes", tokenBytes);
  if (!a.scales.present) call.invalidArgument("inputs.scales is NULL");
  if (!a.outScales.present) call.invalidArgument("outputs.scales is NULL");
  if (!a.outTokens.present) call.invalidArgument("outputs.tokens is NULL");
  checkAlignment(call, "inputs.tokens", a.tokens);
  checkAlignment(call, "inputs.scales", a.scales);
  checkAlignment(call, "outputs.tokens", a.outTokens);
  checkAlignment(call, "outputs.scales", a.outScales);
  if (a.scales.ndim != 2) call.invalidArgument("inputs.scales has %u dimensions, expected 2", a.scales.ndim);
  if (!isForwardableScale(a.scales.type)) call.invalidArgument("inputs.scales is %s", typeName(a.scales.type));
  if (a.scales.sizes[0] != a.tokens.sizes[0]) {
    call.invalidArgument("inputs.scales has %zu rows, inputs.tokens %zu", a.scales.sizes[0], a.tokens.sizes[0]);
  }
  if (a.scales.sizes[1] == 0) call.invalidArgument("inputs.scales has no columns");
  const size_t scaleBytes = a.scales.rowBytes();
  if (scaleBytes % kPacket != 0) call.invalidArgument("scale rows of %zu bytes", scaleBytes);
  if (sum(tokenBytes, scaleBytes) > handle.group->shape.maxTokenBytes) {
    call.invalidArgument("token and scale rows of %zu + %zu bytes exceed max_token_bytes %zu", tokenBytes,
                         scaleBytes, handle.group->shape.maxTokenBytes);
  }
  return checkForwardOutputs(call, handle, a);
}

void checkFp8(Call& call, const Handle& handle, const DispatchArguments& a) {
  if (!handle.group->lowLatency) call.invalidArgument("DS_FP8E3M4 is for LL only");
  const size_t hidden = a.tokens.sizes[1];
  if (a.tokens.type != ncclBfloat16) {
    call.invalidArgument("inputs.tokens is %s, expected bf16", typeName(a.tokens.type));
  }
  if (hidden == 0 || hidden % 512 != 0) call.invalidArgument("%zu elements per row are no multiple of 512", hidden);
  if (!a.outTokens.present || a.outTokens.type != ncclFloat8e4m3) call.invalidArgument("outputs.tokens must be e4m3");
  if (a.scales.present) call.invalidArgument("inputs.scales must be NULL");
  if (!a.outScales.present) call.invalidArgument("outputs.scales is NULL");
  const auto [outer, inner] = llExtents(handle);
  if (a.outScales.type != ncclFloat32 || !a.outScales.is(outer, inner, hidden / kFp8Block)) {
    call.invalidArgument("outputs.scales must be f32 [%zu,%zu,%zu]", outer, inner, hidden / kFp8Block);
  }
  if (a.wireBytes() > handle.group->shape.maxTokenBytes) {
    call.invalidArgument("quantised rows of %zu bytes exceed max_token_bytes %zu", a.wireBytes(),
                         handle.group->shape.maxTokenBytes);
  }
}

void checkNvfp4(Call& call, const Handle& handle, const CombineArguments& a) {
  if (options::computeCapability() < 100) call.invalidUsage("NVFP4 needs compute capability 10.0");
  if (a.tokens.type != ncclBfloat16 || !a.outTokens.present || a.outTokens.type != ncclBfloat16) {
    call.invalidArgument("NVFP4 needs bf16 inputs.tokens and outputs.tokens");
  }
  if (!a.scales.present || a.scales.type != ncclFloat32 || a.scales.ndim != 3) {
    call.invalidArgument("NVFP4 needs inputs.scales f32 with 3 dimensions");
  }
  if (!handle.group->lowLatency) return;
  const auto [outer, inner] = llExtents(handle);
  if (!a.scales.is(outer, inner, 1)) call.invalidArgument("inputs.scales must be [%zu,%zu,1]", outer, inner);
}

}  // namespace

bool isPlainFloat(ncclDataType_t type) { return type == ncclBfloat16 || type == ncclFloat16 || type == ncclFloat32; }

size_t DispatchArguments::wireScaleBytes() const {
  if (forwardsScales()) return scales.rowBytes();
  return makesScales() ? tokens.sizes[1] / kFp8Block * sizeof(float) : 0;
}

void checkTokenCount(Call& call, const Shape& shape, const DispatchArguments& a) {
  if (a.tokens.sizes[0] != a.tokenCount) {
    call.aborts("inputs.tokens has %zu rows, topk_idx %zu", a.tokens.sizes[0], a.tokenCount);
  }
  if (a.tokenCount > shape.maxDispatch) {
    call.aborts("%zu tokens, max_dispatch_tokens_per_rank is %zu", a.tokenCount, shape.maxDispatch);
  }
}

void checkDispatchRecipe(Call& call, const Handle& handle, const DispatchArguments& arguments) {
  switch (static_cast<unsigned>(arguments.recipe)) {
    case NCCL_EP_DISP_QUANT_NONE: return checkNone(call, arguments);
    case NCCL_EP_DISP_QUANT_FWD: return checkForward(call, handle, arguments);
    case NCCL_EP_DISP_QUANT_DS_FP8E3M4: return checkFp8(call, handle, arguments);
    default: call.invalidArgument("unknown quant_recipe %u", arguments.recipe);
  }
}

void checkCombineRecipe(Call& call, const Handle& handle, const CombineArguments& arguments) {
  const Tensor& tokens = arguments.tokens;
  switch (static_cast<unsigned>(arguments.recipe)) {
    case NCCL_EP_COMB_QUANT_NONE:
      if (arguments.scales.present) call.invalidArgument("inputs.scales needs a quantising recipe");
      if (isPlainFloat(tokens.type)) return;
      call.invalidArgument("inputs.tokens is %s, expected bf16, f16 or f32", typeName(tokens.type));
    case NCCL_EP_COMB_QUANT_NVFP4: return checkNvfp4(call, handle, arguments);
    default: call.invalidArgument("unknown quant_recipe %u", arguments.recipe);
  }
}

}  // namespace emu::ep
