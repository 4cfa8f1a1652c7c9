// Quantisation recipes: what they demand of the tensors.
#pragma once

#include "ep/handle.h"

namespace emu::ep {

// What a decoded dispatch and a decoded combine have both.
struct OperationArguments {
  Tensor tokens;
  Tensor scales;
  Tensor outTokens;
  bool backward = false;
  size_t tokenCount = 0;  // T
};

// A decoded dispatch. Weights and routing outputs are decoded by the algorithms, which differ in when they look at
// them.
struct DispatchArguments : OperationArguments {
  ncclEpDispatchInputs_t inputs;
  ncclEpDispatchOutputs_t outputs;
  ncclEpLayoutInfo_t info;
  bool hasInfo = false;
  ncclEpDispatchConfig_t config;

  Tensor outScales;
  ncclEpDispQuant_t recipe = NCCL_EP_DISP_QUANT_NONE;

  bool forwardsScales() const { return recipe == NCCL_EP_DISP_QUANT_FWD; }
  bool makesScales() const { return recipe == NCCL_EP_DISP_QUANT_DS_FP8E3M4; }
  // Bytes of a row on its way, as the output tensors hold them.
  size_t wireTokenBytes() const { return makesScales() ? tokens.sizes[1] : tokens.rowBytes(); }
  size_t wireScaleBytes() const;
  size_t wireBytes() const { return sum(wireTokenBytes(), wireScaleBytes()); }
};

struct CombineArguments : OperationArguments {
  ncclEpCombineInputs_t inputs;
  ncclEpCombineOutputs_t outputs;
  ncclEpCombineConfig_t config;
  ncclEpCombQuant_t recipe = NCCL_EP_COMB_QUANT_NONE;
};

bool isPlainFloat(ncclDataType_t type);  // bf16, fp16, fp32

// Whether the tokens are as many as the routing's, and no more than may be dispatched; anything else aborts.
void checkTokenCount(Call& call, const Shape& shape, const DispatchArguments& arguments);

void checkDispatchRecipe(Call& call, const Handle& handle, const DispatchArguments& arguments);
void checkCombineRecipe(Call& call, const Handle& handle, const CombineArguments& arguments);

}  // namespace emu::ep
