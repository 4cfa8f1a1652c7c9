#include "ep/ht/plan.h"

#include "ep/faults.h"
#include "ep/routing.h"

namespace emu::ep {

HtPlan::HtPlan(const char* name, const Handle& handle, size_t tokenCount)
    : group(handle.group),
      function(name),
      expertMajor(handle.expertMajor()),
      duplicates(handle.duplicates()),
      topk(handle.topk),
      tokens(tokenCount),
      // A handle set up on the memory of another one takes the copy for int64.
      wideRouting(!handle.updated || handle.routing.type == ncclInt64),
      alignment(handle.alignment),
      block(handle.block),
      parts(handle.parts) {}

void HtPlan::distinctExperts(HtState::Scratch& scratch) const {
  const RoutingReader reader(routingCopy(), wideRouting);
  ExpertCheck check(function, group->rank, shape().experts);
  scratch.ids.clear();
  scratch.idsFrom.resize(tokens + 1);
  for (size_t t = 0; t < tokens; ++t) {
    const size_t from = scratch.ids.size();
    scratch.idsFrom[t] = static_cast<uint32_t>(from);
    for (size_t k = 0; k < topk; ++k) {
      const int32_t id = check(reader.at(t * topk + k));
      if (id < 0) continue;
      size_t at = scratch.ids.size();
      while (at > from && scratch.ids[at - 1] > id) --at;
      if (at > from && scratch.ids[at - 1] == id) continue;
      scratch.ids.insert(scratch.ids.begin() + static_cast<std::ptrdiff_t>(at), id);
    }
  }
  scratch.idsFrom[tokens] = static_cast<uint32_t>(scratch.ids.size());
}

HtTurn::HtTurn(const HtPlan& plan, Operation operation, Channel channel, WorkContext& context)
    : plan_(plan), group_(*plan.group), operation_(operation), channel_(channel), context_(context) {}

HtTurn::~HtTurn() {
  for (int source = 0; source < group_.ranks; ++source) {
    if ((open_ >> source & 1) != 0) group_.exchange.release(channel_, source);
  }
  if (entered_) busy().store(false, std::memory_order_release);
}

std::atomic<bool>& HtTurn::busy() const { return channel_ == Channel::Routing ? group_.ht.updating : group_.ht.moving; }

HtState::Scratch& HtTurn::scratch() const { return group_.ht.scratch[channel_ == Channel::Routing ? 0 : 1]; }

Region HtTurn::region(int rank) const {
  const HtRegions& layout = group_.ht.regions;
  const size_t at = channel_ == Channel::Routing ? 0 : channel_ == Channel::Dispatch ? layout.dispatchAt : layout.combineAt;
  return Region(group_.exchange.payload(rank) + at, layout);
}

cudaError_t HtTurn::start(bool countsForFaults) {
  if (group_.destroyed) {
    return context_.fail(cudaErrorIllegalAddress, "%s on rank %d: the group was destroyed", plan_.function, group_.rank);
  }
  if (busy().exchange(true, std::memory_order_acquire)) {
    return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: runs while another HT operation of the group does", plan_.function,
                         group_.rank);
  }
  entered_ = true;
  group_.exchange.started(operation_);
  if (countsForFaults) {
    const faults::Operation met = meetFaults(group_.rank);
    if (met.silent) group_.ht.silent = true;
    deaf_ = met.deaf | (met.deafTo >= 0 ? uint64_t{1} << met.deafTo : 0);
  }
  silent_ = group_.ht.silent;
  deadline_ = silent_ ? 0 : waitLimit();
  return cudaSuccess;
}

cudaError_t HtTurn::ended(Arrival arrival, const char* what, int other) {
  const char* const why = arrival == Arrival::Late ? "the wait limit passed" : arrival == Arrival::Gone ? "it is gone" : "the waits ended";
  return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: waited for %s of %s; %s", plan_.function, group_.rank, what,
                       group_.exchange.whereabouts(other).c_str(), why);
}

cudaError_t HtTurn::awaitRegion() {
  for (int r = 0; r < group_.ranks; ++r) {
    const Arrival arrival = group_.exchange.awaitEmptied(channel_, r, deadline_);
    if (arrival == Arrival::Here) continue;
    if (!silent_) return ended(arrival, "the end of the previous operation", r);
    group_.exchange.retract(channel_, r);
  }
  return cudaSuccess;
}

void HtTurn::post(int destination) {
  if (!silent_) group_.exchange.post(channel_, destination, 0);
}

cudaError_t HtTurn::receive(int source, bool* present) {
  uint64_t value = 0;
  const Arrival arrival = group_.exchange.receive(channel_, source, deadline_, (deaf_ >> source & 1) != 0, &value);
  *present = arrival == Arrival::Here;
  if (*present) {
    open_ |= uint64_t{1} << source;
    return cudaSuccess;
  }
  if (silent_ && arrival != Arrival::Broken) return cudaSuccess;
  return ended(arrival, "the data", source);
}

}  // namespace emu::ep
