// Questions to communicators, and their end.
#include "base/wait.h"
#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

// The body of a question whose answer is an int.
template <class Answer>
ncclResult_t ask(ncclComm_t comm, int* out, Answer answer) {
  Comm state;
  EMU_TRY(ready(comm, &state));
  if (!given(out)) return fail(ncclInvalidArgument, "the pointer for the answer is NULL");
  *out = answer(*state);
  return ncclSuccess;
}

ncclResult_t finalize(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  Comm state;
  EMU_TRY(usable(comm, &state));
  state->stage.store(Stage::Finalized);
  const auto body = [raw = state.get()]() -> Failure {
    if (raw->order.waitForAll()) return {};
    return {ncclSystemError, "the waits of this process were broken: " + brokenReason()};
  };
  return group::runHostOperation({state, body, nullptr});
}

ncclResult_t destroy(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  Comm state;
  EMU_TRY(ready(comm, &state));
  state->order.waitForAll();
  // As the real library, wait for the graphs that hold work of the communicator.
  EventCount never{};
  if (waitUntil(never, [&] { return state->captured.load() == 0; }, waitLimit()) != WaitEnd::Ready) {
    return fail(ncclInvalidUsage, "%d captured operations of the communicator live in graphs", state->captured.load());
  }
  const Comm owned = take(comm);
  if (owned == nullptr) return notLive(comm);
  owned->close();
  return ncclSuccess;
}

ncclResult_t abort(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  const Comm state = take(comm);
  if (state == nullptr) return notLive(comm);
  if (state->stage.load() != Stage::Starting) calls::setRank(state->rank());
  state->abort();
  state->order.waitForRunning();
  state->close();
  return ncclSuccess;
}

ncclResult_t getAsyncError(ncclComm_t comm, ncclResult_t* out) {
  const Comm state = find(comm);
  if (state == nullptr) return notLive(comm);
  if (!given(out)) return fail(ncclInvalidArgument, "asyncError is NULL");
  if (state->stage.load() != Stage::Starting) calls::setRank(state->rank());
  *out = state->asyncError();
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclCommFinalize(ncclComm_t comm) { return EMU_CALL(groupedEntry, (comm), finalize(comm)); }

EMU_API ncclResult_t ncclCommDestroy(ncclComm_t comm) { return EMU_CALL(groupedEntry, (comm), destroy(comm)); }

EMU_API ncclResult_t ncclCommAbort(ncclComm_t comm) { return EMU_CALL(groupedEntry, (comm), abort(comm)); }

EMU_API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError) {
  return EMU_CALL(entry, (comm, asyncError), getAsyncError(comm, asyncError));
}

EMU_API ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  return EMU_CALL(entry, (comm, count), ask(comm, count, [](const CommState& state) { return state.size(); }));
}

EMU_API ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  return EMU_CALL(entry, (comm, device), ask(comm, device, [](const CommState& state) { return state.device; }));
}

EMU_API ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  return EMU_CALL(entry, (comm, rank), ask(comm, rank, [](const CommState& state) { return state.rank(); }));
}

}  // namespace emu::nccl
