// Groups of calls.
#include "nccl/entry.h"
#include "nccl/group.h"

namespace emu::nccl {

namespace {

// There is no model of a GPU's time here, so the estimate is the value that means unknown.
ncclResult_t simulateEnd(ncclSimInfo_t* info) {
  const ncclResult_t result = group::discard();
  if (info == nullptr || result != ncclSuccess) return result;
  if (!given(info)) return fail(ncclInvalidArgument, "simInfo cannot be written");
  if (info->magic != NCCL_SIM_INFO_MAGIC || info->size < sizeof(ncclSimInfo_t)) {
    return fail(ncclInvalidArgument, "simInfo was not set up with NCCL_SIM_INFO_INITIALIZER");
  }
  info->estimatedTime = NCCL_UNDEF_FLOAT;
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclGroupStart(void) { return EMU_CALL(entry, (), group::start()); }

EMU_API ncclResult_t ncclGroupEnd(void) { return EMU_CALL(entry, (), group::end()); }

EMU_API ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* simInfo) {
  return EMU_CALL(entry, (simInfo), simulateEnd(simInfo));
}

}  // namespace emu::nccl
