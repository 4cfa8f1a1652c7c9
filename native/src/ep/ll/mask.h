// Active masks and the asynchronous error flag of LL groups.
#pragma once

#include "ep/group.h"

namespace emu::ep {

ncclResult_t maskQuery(Call& call, ncclEpGroup_t group, int* status, cudaStream_t stream);
ncclResult_t maskUpdate(Call& call, ncclEpGroup_t group, const int* mask, cudaStream_t stream);
ncclResult_t maskClean(Call& call, ncclEpGroup_t group, cudaStream_t stream);
ncclResult_t getAsyncError(Call& call, ncclEpGroup_t group, int* error);
ncclResult_t errorClear(Call& call, ncclEpGroup_t group);

}  // namespace emu::ep
