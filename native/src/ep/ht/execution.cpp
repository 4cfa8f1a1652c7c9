#include "ep/ht/execution.h"

#include "ep/faults.h"

namespace emu::ep {

HtExecution::HtExecution(const HtPlan& plan, Operation operation, Channel channel, WorkContext& context)
    : plan_(plan), group_(*plan.group), operation_(operation), channel_(channel), context_(context) {}

HtExecution::~HtExecution() {
  for (int source = 0; source < group_.ranks; ++source) {
    if (present(static_cast<size_t>(source))) group_.exchange.release(channel_, source);
  }
  if (entered_) busy().store(false, std::memory_order_release);
  if (takesTurns()) group_.ht.turns.end(&plan_);
}

std::atomic<bool>& HtExecution::busy() const {
  return channel_ == Channel::Routing ? group_.ht.updating : group_.ht.moving;
}

HtState::Scratch& HtExecution::scratch() const { return group_.ht.scratch[channel_ == Channel::Routing ? 0 : 1]; }

Region HtExecution::region(int rank) const {
  const HtRegions& layout = group_.ht.regions;
  const size_t at = channel_ == Channel::Routing    ? 0
                    : channel_ == Channel::Dispatch ? layout.dispatchAt
                                                    : layout.combineAt;
  return Region(group_.exchange.payload(rank) + at, layout);
}

cudaError_t HtExecution::start(bool countsForFaults) {
  if (const cudaError_t error = checkAlive(group_, context_, plan_.function)) return error;
  if (channel_ == Channel::Routing && group_.team->failed()) return failedTeam();
  if (takesTurns()) {
    if (const char* earlier = group_.ht.turns.begin(&plan_)) {
      return context_.fail(cudaErrorLaunchFailure,
                           "%s on rank %d: begins while %s on another stream is not done, and nothing orders them; the "
                           "handles of a group over %d LSA teams share its staging",
                           plan_.function, group_.rank, earlier, group_.topology.teams());
    }
  }
  if (busy().exchange(true, std::memory_order_acquire)) {
    return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: runs while another HT operation of the group does",
                         plan_.function, group_.rank);
  }
  entered_ = true;
  group_.exchange.started(operation_);
  if (countsForFaults) {
    const faults::Operation met = applyFaults(group_.rank);
    if (met.silent) group_.ht.silent = true;
    deaf_ = met.deaf;
    slowUntil_ = slowUntil(met);
  }
  silent_ = group_.ht.silent;
  deadline_ = silent_ ? 0 : waitLimit();
  return cudaSuccess;
}

cudaError_t HtExecution::failedTeam() {
  return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: %s", plan_.function, group_.rank,
                       group_.team->failureText().c_str());
}

cudaError_t HtExecution::ended(Arrival arrival, const char* what, int other) {
  if (channel_ == Channel::Routing && group_.team->failed()) return failedTeam();
  const char* const why = arrival == Arrival::Late   ? "the wait limit passed"
                          : arrival == Arrival::Gone ? "it is gone"
                                                     : "the waits ended";
  return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: waited for %s of %s; %s", plan_.function, group_.rank,
                       what, group_.exchange.progressOf(other).c_str(), why);
}

cudaError_t HtExecution::awaitRegion() {
  for (int r = 0; r < group_.ranks; ++r) {
    const Arrival arrival = group_.exchange.awaitEmptied(channel_, r, deadline_);
    if (arrival == Arrival::Here) continue;
    if (!silent_) return ended(arrival, "the end of the previous operation", r);
    group_.exchange.retract(channel_, r);
  }
  return cudaSuccess;
}

void HtExecution::postToAll() {
  for (int r = 0; r < group_.ranks && !silent_; ++r) group_.exchange.post(channel_, r, 0);
}

cudaError_t HtExecution::checkSource(int source) {
  const MoveHeader& ours = mine().move();
  const MoveHeader& theirs = region(source).move();
  if (theirs.topk != ours.topk || theirs.expertMajor != ours.expertMajor || theirs.rowBytes != ours.rowBytes ||
      theirs.scaleBytes != ours.scaleBytes || theirs.backward != ours.backward) {
    return context_.fail(cudaErrorLaunchFailure, "%s: ranks %d and %d differ in top-k, layout, row bytes, or direction",
                         plan_.function, group_.rank, source);
  }
  // Only peers of the own team are addressed through windows.
  const bool addressed = group_.topology.teamOf(source) == group_.topology.teamOf(group_.rank);
  if (!addressed || (theirs.tokensWindow == ours.tokensWindow && theirs.scalesWindow == ours.scalesWindow)) {
    return cudaSuccess;
  }
  return context_.fail(cudaErrorLaunchFailure,
                       "%s: the windows of ranks %d and %d differ in registration order or offset", plan_.function,
                       group_.rank, source);
}

cudaError_t HtExecution::receive(int source, bool* here) {
  uint64_t value = 0;
  Arrival arrival = awaitLink(group_, source, slowUntil_, deadline_);
  if (arrival == Arrival::Here) {
    arrival = group_.exchange.receive(channel_, source, deadline_, (deaf_ >> source & 1) != 0, &value);
  }
  *here = arrival == Arrival::Here;
  if (*here || (silent_ && arrival != Arrival::Broken)) return cudaSuccess;
  return ended(arrival, "the data", source);
}

}  // namespace emu::ep
