#include "ep/operations.h"

#include "ep/entry.h"
#include "ep/structs.h"

namespace emu::ep {

namespace {

void dispatch(Call& call, ncclEpHandle_t token, const ncclEpDispatchInputs_t* inputs,
                      const ncclEpDispatchOutputs_t* outputs, const ncclEpLayoutInfo_t* info,
                      const ncclEpDispatchConfig_t* config, cudaStream_t stream) {
  DispatchArguments a;
  a.inputs = decodeStruct(call, "inputs", inputs, true);
  a.outputs = decodeStruct(call, "outputs", outputs, true);
  a.info = decodeStruct(call, "layout_info", info, false);
  a.config = decodeStruct(call, "config", config, false);
  a.hasInfo = info != nullptr;
  const auto handle = findHandle(call, token);

  a.tokens = decodeRequired(call, "inputs.tokens", a.inputs.tokens);
  if (a.tokens.ndim != 2) call.invalidArgument("inputs.tokens has %u dimensions, expected 2", a.tokens.ndim);
  a.outTokens = decodeOptional(call, "outputs.tokens", a.outputs.tokens);
  a.scales = decodeOptional(call, "inputs.scales", a.inputs.scales);
  a.outScales = decodeOptional(call, "outputs.scales", a.outputs.scales);
  a.recipe = a.config.quant_recipe;
  const bool lowLatency = handle->group->lowLatency;
  checkDispatchRecipe(call, *handle, a);
  a.backward = a.config.pass_direction != NCCL_EP_FWD_PASS;
  if (lowLatency && a.backward) call.invalidUsage("LL has no backward pass");
  a.tokenCount = handle->updated ? handle->routing.sizes[0] : a.tokens.sizes[0];
  (lowLatency ? dispatchLl : dispatchHt)(call, handle, a, stream);
}

void combine(Call& call, ncclEpHandle_t token, const ncclEpCombineInputs_t* inputs,
                     const ncclEpCombineOutputs_t* outputs, const ncclEpCombineConfig_t* config, cudaStream_t stream) {
  CombineArguments a;
  a.inputs = decodeStruct(call, "inputs", inputs, true);
  a.outputs = decodeStruct(call, "outputs", outputs, true);
  a.config = decodeStruct(call, "config", config, false);
  const auto handle = findHandle(call, token);

  a.scales = decodeOptional(call, "inputs.scales", a.inputs.scales);
  a.outTokens = decodeOptional(call, "outputs.tokens", a.outputs.tokens);
  a.tokens = decodeRequired(call, "inputs.tokens", a.inputs.tokens);
  a.recipe = a.config.quant_recipe;
  checkCombineRecipe(call, *handle, a);
  const bool lowLatency = handle->group->lowLatency;
  // HT takes every direction that it does not know for the forward one.
  a.backward = lowLatency ? a.config.pass_direction != NCCL_EP_FWD_PASS : a.config.pass_direction == NCCL_EP_BWD_PASS;
  if (lowLatency && a.backward) call.invalidUsage("LL has no backward pass");
  a.tokenCount = handle->updated ? handle->routing.sizes[0] : a.outTokens.sizes[0];
  (lowLatency ? combineLl : combineHt)(call, handle, a, stream);
}

}  // namespace

EMU_EP(ncclEpDispatch,
       (ncclEpHandle_t handle, const ncclEpDispatchInputs_t* inputs, const ncclEpDispatchOutputs_t* outputs,
        const ncclEpLayoutInfo_t* layout_info, const ncclEpDispatchConfig_t* config, cudaStream_t stream),
       (handle, inputs, outputs, layout_info, config, stream),
       dispatch(call, handle, inputs, outputs, layout_info, config, stream))

EMU_EP(ncclEpCombine,
       (ncclEpHandle_t handle, const ncclEpCombineInputs_t* inputs, const ncclEpCombineOutputs_t* outputs,
        const ncclEpCombineConfig_t* config, cudaStream_t stream), (handle, inputs, outputs, config, stream),
       combine(call, handle, inputs, outputs, config, stream))

}  // namespace emu::ep
