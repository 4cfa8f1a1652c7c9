// ncclEpDispatch: what both algorithms check, and the way to them.
#pragma once

#include "ep/handle.h"

namespace emu::ep {

ncclResult_t dispatch(Call& call, ncclEpHandle_t handle, const ncclEpDispatchInputs_t* inputs,
                      const ncclEpDispatchOutputs_t* outputs, const ncclEpLayoutInfo_t* info,
                      const ncclEpDispatchConfig_t* config, cudaStream_t stream);

}  // namespace emu::ep
