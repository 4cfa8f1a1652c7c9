// An HT operation while it runs.
#pragma once

#include "cuda/device.h"
#include "ep/execution.h"
#include "ep/ht/plan.h"

namespace emu::ep {

class HtExecution : public Execution {
 public:
  HtExecution(const HtPlan& plan, Operation operation, Channel channel, WorkContext& context);
  ~HtExecution();

  void start(bool countsForFaults);

  // Waits until all ranks have read what this rank's region held before.
  void awaitRegion();
  void postToAll();

  // Waits for every rank's message, ascending, and keeps it open; then visit(source). Those of all come, unless a fault
  // keeps this rank from taking part.
  template <class Visit>
  void receiveFromAll(const Visit& visit) {
    for (int source = 0; source < group_.ranks; ++source) {
      receive(source);
      if (present(static_cast<size_t>(source))) visit(source);
    }
  }
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
  void checkSource(int source);

 private:
  void receive(int source);
  void failIfTeamDid() const;
  bool sharesStaging() const { return channel_ != Channel::Routing && group_.topology.teams() > 1; }
  [[noreturn]] void ended(Arrival arrival, const char* what, int other);

  const HtPlan& plan_;
  const Operation operation_;
  bool silent_ = false;
  uint64_t deadline_ = 0;
};

// Enqueues the work of an HT operation. `issued` runs whenever it is put on a stream, replays included.
template <class Op>
void submitHt(Call& call, const std::shared_ptr<Op>& op, cudaStream_t stream,
                      std::function<void()> issued = nullptr) {
  const auto run = [op](WorkContext& context) { op->run(context); };
  Work work(op->plan.function, WorkKind::Kernel, run, op->plan.group->rank);
  work.issued = std::move(issued);
  const cudaError_t error = submit(stream, std::move(work));
  if (error != cudaSuccess) {
    call.throws("CUDA error %d %s", static_cast<int>(error), device::stickyText(op->plan.group->device).c_str());
  }
}

// The same for dispatch and combine, whose order matters where staging is the group's.
template <class Op>
void submitMove(Call& call, const std::shared_ptr<Op>& op, cudaStream_t stream) {
  if (op->plan.group->topology.teams() == 1) return submitHt(call, op, stream);
  submitHt(call, op, stream, [plan = &op->plan, alive = std::weak_ptr<const Op>(op)] {
    plan->group->ht.stagingOrder.issue(plan, alive, plan->function);
  });
}

}  // namespace emu::ep
