// Suspending communicators, and what memory they have.
#include "base/host_access.h"
#include "nccl/entry.h"
#include "nccl/state.h"

using namespace emu;
using nccl::Stage;

EMU_API ncclResult_t ncclCommSuspend(ncclComm_t comm, int flags) {
  static Function function("ncclCommSuspend");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.number("flags", flags);
      },
      [&] {
        ncclResult_t why = ncclSuccess;
        const auto state = nccl::usable(comm, &why);
        if (state == nullptr) return why;
        if (flags != NCCL_SUSPEND_MEM) return nccl::fail(ncclInvalidArgument, "suspend flags 0x%x", static_cast<unsigned>(flags));
        state->turnstile.drain();
        state->stage.store(Stage::Suspended);
        return ncclSuccess;
      });
}

EMU_API ncclResult_t ncclCommResume(ncclComm_t comm) {
  static Function function("ncclCommResume");
  return nccl::entry(
      function, [&](Arguments& a) { a.pointer("comm", comm); },
      [&] {
        ncclResult_t why = ncclSuccess;
        const auto state = nccl::ready(comm, &why);
        if (state == nullptr) return why;
        Stage suspended = Stage::Suspended;
        if (!state->stage.compare_exchange_strong(suspended, Stage::Ready)) {
          return nccl::fail(ncclInvalidUsage, "the communicator is not suspended");
        }
        return ncclSuccess;
      });
}

// An emulated communicator has no device memory of its own.
EMU_API ncclResult_t ncclCommMemStats(ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value) {
  static Function function("ncclCommMemStats");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.number("stat", static_cast<int64_t>(stat));
        a.pointer("value", value);
      },
      [&] {
        ncclResult_t why = ncclSuccess;
        const auto state = nccl::ready(comm, &why);
        if (state == nullptr) return why;
        if (!given(value)) return nccl::fail(ncclInvalidArgument, "value is NULL");
        if (static_cast<unsigned int>(stat) > ncclStatGpuMemTotal) {
          return nccl::fail(ncclInvalidArgument, "memory statistic %d does not exist", static_cast<int>(stat));
        }
        *value = stat == ncclStatGpuMemSuspended && state->stage.load() == Stage::Suspended ? 1 : 0;
        return ncclSuccess;
      });
}
