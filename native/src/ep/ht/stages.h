// The rows that HT kernels keep in shared memory.
#pragma once

#include "ep/group.h"

namespace emu::ep {

class Call;

// Refused if the rows of all stages cannot fit, also those that NCCL_EP_DISPATCH_NUM_STAGES or
// NCCL_EP_COMBINE_NUM_STAGES_* pin.
void checkDispatchStages(Call& call, const Group& group, size_t bytesPerStage);
void checkCombineStages(Call& call, const Group& group, size_t bytesPerStage);

}  // namespace emu::ep
