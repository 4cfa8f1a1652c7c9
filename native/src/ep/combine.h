// ncclEpCombine: what both algorithms check, and the way to them.
#pragma once

#include "ep/handle.h"

namespace emu::ep {

ncclResult_t combine(Call& call, ncclEpHandle_t handle, const ncclEpCombineInputs_t* inputs,
                     const ncclEpCombineOutputs_t* outputs, const ncclEpCombineConfig_t* config, cudaStream_t stream);

}  // namespace emu::ep
