// Questions to communicators, their suspension, and their end.
#include "base/wait.h"
#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

// The body of a question whose answer is an int.
template <class Answer>
void ask(ncclComm_t comm, int* out, Answer answer) {
  const Comm state = ready(comm);
  if (!given(out)) fail(ncclInvalidArgument, "the pointer for the answer is NULL");
  *out = answer(*state);
}

ncclResult_t finalize(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  const Comm state = usable(comm);
  state->stage.store(Stage::Finalized);
  const auto body = [raw = state.get()] {
    if (raw->order.waitForAll()) return;
    fail(ncclSystemError, "the waits of this process were broken: %s", brokenReason().c_str());
  };
  return group::runHostOperation({state, body, nullptr});
}

void destroy(ncclComm_t comm) {
  if (comm == nullptr) return;
  const Comm state = ready(comm);
  state->order.waitForAll();
  // As the real library, wait for the graphs that hold work of the communicator.
  EventCount never{};
  if (waitUntil(never, [&] { return state->captured.load() == 0; }, waitLimit()) != WaitEnd::Ready) {
    fail(ncclInvalidUsage, "%d captured operations of the communicator live in graphs", state->captured.load());
  }
  existing(comm, take(comm))->close();
}

void abort(ncclComm_t comm) {
  if (comm == nullptr) return;
  const Comm state = existing(comm, take(comm));
  state->abort();
  state->order.waitForRunning();
  state->close();
}

void getAsyncError(ncclComm_t comm, ncclResult_t* out) {
  const Comm state = existing(comm, find(comm));
  if (!given(out)) fail(ncclInvalidArgument, "asyncError is NULL");
  *out = state->asyncError();
}

void suspend(ncclComm_t comm, int flags) {
  const Comm state = usable(comm);
  if (flags != NCCL_SUSPEND_MEM) fail(ncclInvalidArgument, "suspend flags 0x%x", static_cast<unsigned>(flags));
  state->order.waitForAll();
  state->stage.store(Stage::Suspended);
}

void resume(ncclComm_t comm) {
  const Comm state = ready(comm);
  Stage suspended = Stage::Suspended;
  if (state->stage.compare_exchange_strong(suspended, Stage::Ready)) return;
  fail(ncclInvalidUsage, "the communicator is not suspended");
}

// An emulated communicator has no device memory of its own.
void memoryStatistic(ncclComm_t comm, ncclCommMemStat_t statistic, uint64_t* out) {
  const Comm state = ready(comm);
  if (!given(out)) fail(ncclInvalidArgument, "value is NULL");
  if (static_cast<unsigned int>(statistic) > ncclStatGpuMemTotal) {
    fail(ncclInvalidArgument, "memory statistic %d does not exist", static_cast<int>(statistic));
  }
  *out = statistic == ncclStatGpuMemSuspended && state->stage.load() == Stage::Suspended ? 1 : 0;
}

}  // namespace

EMU_NCCL_GROUPED(ncclCommFinalize, (ncclComm_t comm), (comm), finalize(comm))

EMU_NCCL_GROUPED(ncclCommDestroy, (ncclComm_t comm), (comm), destroy(comm))

EMU_NCCL_GROUPED(ncclCommAbort, (ncclComm_t comm), (comm), abort(comm))

EMU_NCCL(ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* asyncError), (comm, asyncError),
         getAsyncError(comm, asyncError))

EMU_NCCL(ncclCommCount, (const ncclComm_t comm, int* count), (comm, count),
         ask(comm, count, [](const CommState& state) { return state.size(); }))

EMU_NCCL(ncclCommCuDevice, (const ncclComm_t comm, int* device), (comm, device),
         ask(comm, device, [](const CommState& state) { return state.device; }))

EMU_NCCL(ncclCommUserRank, (const ncclComm_t comm, int* rank), (comm, rank),
         ask(comm, rank, [](const CommState& state) { return state.rank(); }))

EMU_NCCL(ncclCommSuspend, (ncclComm_t comm, int flags), (comm, flags), suspend(comm, flags))

EMU_NCCL(ncclCommResume, (ncclComm_t comm), (comm), resume(comm))

EMU_NCCL(ncclCommMemStats, (ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value), (comm, stat, value),
         memoryStatistic(comm, stat, value))

}  // namespace emu::nccl
