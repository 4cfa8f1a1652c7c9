// ncclCommSuspend, ncclCommResume and ncclCommMemStats.
#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

ncclResult_t suspend(ncclComm_t comm, int flags) {
  Comm state;
  EMU_TRY(usable(comm, &state));
  if (flags != NCCL_SUSPEND_MEM) return fail(ncclInvalidArgument, "suspend flags 0x%x", static_cast<unsigned>(flags));
  state->order.waitForAll();
  state->stage.store(Stage::Suspended);
  return ncclSuccess;
}

ncclResult_t resume(ncclComm_t comm) {
  Comm state;
  EMU_TRY(ready(comm, &state));
  Stage suspended = Stage::Suspended;
  if (state->stage.compare_exchange_strong(suspended, Stage::Ready)) return ncclSuccess;
  return fail(ncclInvalidUsage, "the communicator is not suspended");
}

// An emulated communicator has no device memory of its own.
ncclResult_t memoryStatistic(ncclComm_t comm, ncclCommMemStat_t statistic, uint64_t* out) {
  Comm state;
  EMU_TRY(ready(comm, &state));
  if (!given(out)) return fail(ncclInvalidArgument, "value is NULL");
  if (static_cast<unsigned int>(statistic) > ncclStatGpuMemTotal) {
    return fail(ncclInvalidArgument, "memory statistic %d does not exist", static_cast<int>(statistic));
  }
  *out = statistic == ncclStatGpuMemSuspended && state->stage.load() == Stage::Suspended ? 1 : 0;
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclCommSuspend(ncclComm_t comm, int flags) {
  return EMU_CALL(entry, (comm, flags), suspend(comm, flags));
}

EMU_API ncclResult_t ncclCommResume(ncclComm_t comm) { return EMU_CALL(entry, (comm), resume(comm)); }

EMU_API ncclResult_t ncclCommMemStats(ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value) {
  return EMU_CALL(entry, (comm, stat, value), memoryStatistic(comm, stat, value));
}

}  // namespace emu::nccl
