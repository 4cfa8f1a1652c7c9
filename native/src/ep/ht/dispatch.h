// HT dispatch.
#pragma once

#include "ep/recipe.h"

namespace emu::ep {

ncclResult_t dispatchHt(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments,
                        cudaStream_t stream);

}  // namespace emu::ep
