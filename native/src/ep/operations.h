// The operations of handles that LL and HT do differently.
#pragma once

#include "ep/recipe.h"

namespace emu::ep {

// HT, and its UpdateHandle: from everybody's routing to slots.
void dispatchHt(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments, cudaStream_t stream);
void combineHt(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& arguments, cudaStream_t stream);
void updateRouting(Call& call, const std::shared_ptr<Handle>& handle, const ncclEpLayoutInfo_t& info,
                   cudaStream_t stream);

// LL.
void dispatchLl(Call& call, const std::shared_ptr<Handle>& handle, DispatchArguments& arguments, cudaStream_t stream);
void combineLl(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& arguments, cudaStream_t stream);

}  // namespace emu::ep
