#include "ep/ht/execution.h"

namespace emu::ep {

HtExecution::HtExecution(const HtPlan& plan, Operation operation, Channel channel, WorkContext& context)
    : Execution(*plan.group, plan.function, context), plan_(plan), operation_(operation) {
  channel_ = channel;
}

HtExecution::~HtExecution() {
  leave();
  if (sharesStaging()) group_.ht.stagingOrder.end(&plan_);
}

HtState::Scratch& HtExecution::scratch() const { return group_.ht.scratch[channel_ == Channel::Routing ? 0 : 1]; }

Region HtExecution::region(int rank) const {
  const HtRegions& layout = group_.ht.regions;
  const size_t at = channel_ == Channel::Routing    ? 0
                    : channel_ == Channel::Dispatch ? layout.dispatchAt
                                                    : layout.combineAt;
  return Region(group_.exchange.payload(rank) + at, layout);
}

void HtExecution::start(bool countsForFaults) {
  failIfTeamDid();
  if (const char* earlier = sharesStaging() ? group_.ht.stagingOrder.begin(&plan_) : nullptr) {
    fail("begins while %s on another stream is not done, and nothing orders them; the handles of a group over %d LSA "
         "teams share its staging",
         earlier, group_.topology.teams());
  }
  enter(channel_ == Channel::Routing ? group_.ht.updating : group_.ht.moving, "another HT operation");
  group_.exchange.started(operation_);
  if (countsForFaults) {
    const faults::Operation met = takeFaults();
    if (met.silent) group_.ht.silent = true;
    applyFaults(met);
  }
  silent_ = group_.ht.silent;
  deadline_ = silent_ ? 0 : waitLimit();
}

// The routing goes around in a collective of the communicator, and fails with it.
void HtExecution::failIfTeamDid() const {
  if (channel_ == Channel::Routing && group_.team->failed()) fail("%s", group_.team->failureText().c_str());
}

void HtExecution::ended(Arrival arrival, const char* what, int other) {
  failIfTeamDid();
  const char* const why = arrival == Arrival::Late   ? "the wait limit passed"
                          : arrival == Arrival::Gone ? "it is gone"
                                                     : "the waits ended";
  fail("waited for %s of %s; %s", what, group_.exchange.progressOf(other).c_str(), why);
}

void HtExecution::awaitRegion() {
  for (int r = 0; r < group_.ranks; ++r) {
    const Arrival arrival = group_.exchange.awaitEmptied(channel_, r, deadline_);
    if (arrival == Arrival::Here) continue;
    if (!silent_) ended(arrival, "the end of the previous operation", r);
    group_.exchange.retract(channel_, r);
  }
}

void HtExecution::postToAll() {
  for (int r = 0; r < group_.ranks && !silent_; ++r) group_.exchange.post(channel_, r, 0);
}

void HtExecution::checkSource(int source) {
  const MoveHeader& ours = mine().move();
  const MoveHeader& theirs = region(source).move();
  if (theirs.topk != ours.topk || theirs.expertMajor != ours.expertMajor || theirs.rowBytes != ours.rowBytes ||
      theirs.scaleBytes != ours.scaleBytes || theirs.backward != ours.backward) {
    failBetween(source, "", "differ in top-k, layout, row bytes, or direction");
  }
  // Only peers of the own team are addressed through windows.
  const bool addressed = group_.topology.teamOf(source) == group_.topology.teamOf(group_.rank);
  if (addressed && (theirs.tokensWindow != ours.tokensWindow || theirs.scalesWindow != ours.scalesWindow)) {
    failBetween(source, "the windows of ", "differ in registration order or offset");
  }
}

// A rank that is silent goes on without a source that does not come.
void HtExecution::receive(int source) {
  uint64_t value = 0;
  const Arrival arrival = await(source, deadline_, &value);
  if (arrival != Arrival::Here && (!silent_ || arrival == Arrival::Broken)) ended(arrival, "the data", source);
}

}  // namespace emu::ep
