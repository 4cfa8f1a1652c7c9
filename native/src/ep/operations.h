// The operations of groups and handles that LL and HT do differently, or that only one of them has.
#pragma once

#include "ep/recipe.h"

namespace emu::ep {

// ncclEpDispatch and ncclEpCombine: what both algorithms check, and the way to them.
ncclResult_t dispatch(Call& call, ncclEpHandle_t handle, const ncclEpDispatchInputs_t* inputs,
                      const ncclEpDispatchOutputs_t* outputs, const ncclEpLayoutInfo_t* info,
                      const ncclEpDispatchConfig_t* config, cudaStream_t stream);
ncclResult_t combine(Call& call, ncclEpHandle_t handle, const ncclEpCombineInputs_t* inputs,
                     const ncclEpCombineOutputs_t* outputs, const ncclEpCombineConfig_t* config, cudaStream_t stream);

// ---- HT ----

ncclResult_t dispatchHt(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments,
                        cudaStream_t stream);
ncclResult_t combineHt(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& arguments,
                       cudaStream_t stream);
// UpdateHandle: from everybody's routing to slots.
ncclResult_t updateRouting(Call& call, const std::shared_ptr<Handle>& handle, const ncclEpLayoutInfo_t& info,
                           cudaStream_t stream);

// ---- LL ----

ncclResult_t dispatchLl(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments,
                        cudaStream_t stream);
ncclResult_t combineLl(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& arguments,
                       cudaStream_t stream);
// Active masks and the asynchronous error flag.
ncclResult_t maskQuery(Call& call, ncclEpGroup_t group, int* status, cudaStream_t stream);
ncclResult_t maskUpdate(Call& call, ncclEpGroup_t group, const int* mask, cudaStream_t stream);
ncclResult_t maskClean(Call& call, ncclEpGroup_t group, cudaStream_t stream);
ncclResult_t getAsyncError(Call& call, ncclEpGroup_t group, int* error);
ncclResult_t errorClear(Call& call, ncclEpGroup_t group);

}  // namespace emu::ep
