// An HT operation while it runs: who takes part, and the messages that it keeps open.
#pragma once

#include "cuda/device.h"
#include "ep/ht/plan.h"

namespace emu::ep {

class HtExecution {
 public:
  HtExecution(const HtPlan& plan, Operation operation, Channel channel, WorkContext& context);
  ~HtExecution();
  HtExecution(const HtExecution&) = delete;
  HtExecution& operator=(const HtExecution&) = delete;

  cudaError_t start(bool countsForFaults);
  // Waits until all ranks have read what this rank's region held before.
  cudaError_t awaitRegion();
  void postToAll();
  // Waits for every rank's message, ascending, and keeps it open. visit(source) answers an error to end.
  template <class Visit>
  cudaError_t receiveFromAll(const Visit& visit) {
    for (int source = 0; source < group_.ranks; ++source) {
      bool here = false;
      if (const cudaError_t error = receive(source, &here)) return error;
      if (!here) continue;
      present_ |= uint64_t{1} << source;
      if (const cudaError_t error = visit(source)) return error;
    }
    return cudaSuccess;
  }

  // Whether the message of a source came; those of all do, unless a fault keeps this rank from taking part.
  bool present(size_t source) const { return (present_ >> source & 1) != 0; }
  // Visits the ranks that are present, ascending: this order is that of the slots.
  template <class Visit>
  void eachPresent(const Visit& visit) const {
    for (int source = 0; source < group_.ranks; ++source) {
      if (present(static_cast<size_t>(source))) visit(source);
    }
  }

  HtState::Scratch& scratch() const;
  Region region(int rank) const;
  Region mine() const { return region(group_.rank); }
  // Dispatch and combine: what a source announces must be what this rank does.
  cudaError_t checkSource(int source);

 private:
  // *here is false if this rank is silent and the source did not come.
  cudaError_t receive(int source, bool* here);
  cudaError_t failedTeam();
  bool takesTurns() const { return channel_ != Channel::Routing && group_.topology.teams() > 1; }
  cudaError_t ended(Arrival arrival, const char* what, int other);
  std::atomic<bool>& busy() const;

  const HtPlan& plan_;
  Group& group_;
  const Operation operation_;
  const Channel channel_;
  WorkContext& context_;
  bool entered_ = false;
  bool silent_ = false;
  uint64_t deaf_ = 0;
  uint64_t present_ = 0;
  uint64_t slowUntil_ = 0;  // before that nothing of other teams arrives
  uint64_t deadline_ = 0;
};

// Enqueues the work of an HT operation. `issued` runs whenever it is put on a stream, replays included.
template <class Op>
void submitHt(Call& call, const std::shared_ptr<Op>& op, cudaStream_t stream,
                      std::function<void()> issued = nullptr) {
  const auto run = [op](WorkContext& context) { return op->run(context); };
  Work work(op->plan.function, WorkKind::Kernel, run, op->plan.group->rank);
  work.issued = std::move(issued);
  const cudaError_t error = submit(stream, std::move(work));
  if (error == cudaSuccess) return;
  call.throws("CUDA error %d %s", static_cast<int>(error), device::stickyText(op->plan.group->device).c_str());
}

// The same for dispatch and combine, which use staging in turns where it is the group's.
template <class Op>
void submitMove(Call& call, const std::shared_ptr<Op>& op, cudaStream_t stream) {
  if (op->plan.group->topology.teams() == 1) return submitHt(call, op, stream);
  return submitHt(call, op, stream, [plan = &op->plan, alive = std::weak_ptr<const Op>(op)] {
    plan->group->ht.turns.issue(plan, alive, plan->function);
  });
}

}  // namespace emu::ep
