// HT combine.
#pragma once

#include "ep/recipe.h"

namespace emu::ep {

ncclResult_t combineHt(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& arguments,
                       cudaStream_t stream);

}  // namespace emu::ep
