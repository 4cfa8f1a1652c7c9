// HT UpdateHandle: from everybody's routing to slots.
#pragma once

#include "ep/handle.h"

namespace emu::ep {

ncclResult_t updateRouting(Call& call, const std::shared_ptr<Handle>& handle, const ncclEpLayoutInfo_t& info,
                           cudaStream_t stream);

}  // namespace emu::ep
