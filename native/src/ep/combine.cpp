#include "ep/combine.h"

#include "ep/ht/combine.h"
#include "ep/ll/combine.h"
#include "ep/recipe.h"
#include "ep/structs.h"

namespace emu::ep {

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
