#include "ep/operations.h"

#include "ep/structs.h"

namespace emu::ep {

ncclResult_t dispatch(Call& call, ncclEpHandle_t token, const ncclEpDispatchInputs_t* inputs,
                      const ncclEpDispatchOutputs_t* outputs, const ncclEpLayoutInfo_t* info,
                      const ncclEpDispatchConfig_t* config, cudaStream_t stream) {
  DispatchArguments a;
  if (auto failure = decodeStruct(call, "inputs", inputs, true, &a.inputs)) return failure;
  if (auto failure = decodeStruct(call, "outputs", outputs, true, &a.outputs)) return failure;
  if (auto failure = decodeStruct(call, "layout_info", info, false, &a.info)) return failure;
  if (auto failure = decodeStruct(call, "config", config, false, &a.config)) return failure;
  a.hasInfo = info != nullptr;
  std::shared_ptr<Handle> handle;
  if (auto failure = findHandle(call, token, &handle)) return failure;

  if (auto failure = decodeRequired(call, "inputs.tokens", a.inputs.tokens, &a.tokens)) return failure;
  if (a.tokens.ndim != 2) return call.invalidArgument("inputs.tokens has %u dimensions, expected 2", a.tokens.ndim);
  if (auto failure = decodeOptional(call, "outputs.tokens", a.outputs.tokens, &a.outTokens)) return failure;
  if (auto failure = decodeOptional(call, "inputs.scales", a.inputs.scales, &a.scales)) return failure;
  if (auto failure = decodeOptional(call, "outputs.scales", a.outputs.scales, &a.outScales)) return failure;
  a.recipe = a.config.quant_recipe;
  const bool lowLatency = handle->group->lowLatency;
  if (auto failure = checkDispatchRecipe(call, *handle, a)) return failure;
  a.backward = a.config.pass_direction != NCCL_EP_FWD_PASS;
  if (lowLatency && a.backward) return call.invalidUsage("LL has no backward pass");
  a.tokenCount = handle->updated ? handle->routing.sizes[0] : a.tokens.sizes[0];
  return lowLatency ? dispatchLl(call, handle, a, stream) : dispatchHt(call, handle, a, stream);
}

ncclResult_t combine(Call& call, ncclEpHandle_t token, const ncclEpCombineInputs_t* inputs,
                     const ncclEpCombineOutputs_t* outputs, const ncclEpCombineConfig_t* config, cudaStream_t stream) {
  CombineArguments a;
  if (auto failure = decodeStruct(call, "inputs", inputs, true, &a.inputs)) return failure;
  if (auto failure = decodeStruct(call, "outputs", outputs, true, &a.outputs)) return failure;
  if (auto failure = decodeStruct(call, "config", config, false, &a.config)) return failure;
  std::shared_ptr<Handle> handle;
  if (auto failure = findHandle(call, token, &handle)) return failure;

  if (auto failure = decodeOptional(call, "inputs.scales", a.inputs.scales, &a.scales)) return failure;
  if (auto failure = decodeOptional(call, "outputs.tokens", a.outputs.tokens, &a.outTokens)) return failure;
  if (auto failure = decodeRequired(call, "inputs.tokens", a.inputs.tokens, &a.tokens)) return failure;
  a.recipe = a.config.quant_recipe;
  if (auto failure = checkCombineRecipe(call, *handle, a)) return failure;
  const bool lowLatency = handle->group->lowLatency;
  // HT takes every direction that it does not know for the forward one.
  a.backward = lowLatency ? a.config.pass_direction != NCCL_EP_FWD_PASS : a.config.pass_direction == NCCL_EP_BWD_PASS;
  if (lowLatency && a.backward) return call.invalidUsage("LL has no backward pass");
  a.tokenCount = handle->updated ? handle->routing.sizes[0] : a.outTokens.sizes[0];
  return lowLatency ? combineLl(call, handle, a, stream) : combineHt(call, handle, a, stream);
}

}  // namespace emu::ep
