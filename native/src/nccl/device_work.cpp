#include "nccl/device_work.h"

#include <utility>

#include "cuda/error_names.h"
#include "nccl/errors.h"

namespace emu::nccl {

namespace {

// The right of one piece of work to run. Copies of the work (in graphs) share it; with the last copy it ends.
class OrderedWork {
 public:
  OrderedWork(Comm owner, std::shared_ptr<Team> team, const char* name, bool recorded)
      : comm_(std::move(owner)), ranks_(std::move(team)), name_(name), recorded_(recorded) {
    if (recorded_) {
      comm_->captured.fetch_add(1);
    } else {
      ticket_ = comm_->order.nextTicket();
    }
  }

  ~OrderedWork() {
    if (recorded_) {
      comm_->captured.fetch_sub(1);
      return;
    }
    if (ran_) return;
    comm_->order.drop(ticket_);
    // The device failed or was reset before the work could run. The other ranks would wait for it.
    if (submitted_ && !comm_->aborted()) {
      ranks_->fail(ncclUnhandledCudaError, std::string(name_) + " was dropped because the device failed or was reset");
    }
  }

  OrderedWork(const OrderedWork&) = delete;
  OrderedWork& operator=(const OrderedWork&) = delete;

  void submitted(bool submitted) { submitted_ = submitted; }

  void run(const Body& body, WorkContext& context) {
    // Eager work is waited for by destroy, and just ends after an abort; a graph may live longer.
    if (recorded_ && find(comm_.get()) == nullptr) {
      context.fail(cudaErrorLaunchFailure, "the communicator was destroyed");
    }
    const bool entered = comm_->order.enter(ticket_, [&] { return comm_->aborted(); });
    DeviceWait wait(*comm_, *ranks_);
    Outcome outcome;
    try {
      wait.begin();
      if (const std::string differ = comm_->callsDiffer(); !differ.empty()) {
        ranks_->failMismatched(std::string(name_) + ": " + differ);
        throw outcomeOf(TeamResult::Mismatch, differ);
      }
      if (!entered) throw outcomeOf(TeamResult::Broken, "the waits of this process were broken: " + brokenReason());
      body(wait, context);
    } catch (const Outcome& end) {
      outcome = end;
    } catch (const CudaFailure& failure) {
      outcome = {failure.error, ncclUnhandledCudaError, context.text()};
    }
    if (entered) {
      ran_ = true;
      comm_->order.leave(ticket_);
    }
    if (outcome.async != ncclSuccess) {
      const std::string text = std::string(name_) + ": " + outcome.text;
      comm_->failAsync(outcome.async, text);
      ranks_->fail(outcome.async, text);
    }
    if (outcome.device != cudaSuccess) context.fail(outcome.device, "%s", outcome.text.c_str());
  }

 private:
  const Comm comm_;
  const std::shared_ptr<Team> ranks_;
  const char* const name_;
  const bool recorded_;
  CallOrder::Ticket ticket_ = CallOrder::kNone;
  bool submitted_ = false;
  bool ran_ = false;
};

}  // namespace

void enqueue(const Comm& comm, cudaStream_t stream, const char* name,
                     const std::string& collective, Body body) {
  // Tickets and places in streams must be in the same order.
  const std::lock_guard<std::mutex> lock(comm->issue);
  auto ordered = std::make_shared<OrderedWork>(comm, comm->team, name, isCapturing(stream));
  auto run = [ordered, body = std::move(body)](WorkContext& context) { ordered->run(body, context); };
  Work work(name, WorkKind::Kernel, std::move(run), comm->rank());
  if (!collective.empty()) {
    work.issued = [comm, collective] {
      if (find(comm.get()) != nullptr) comm->noteCollective(collective);
    };
  }
  ordered->submitted(true);
  const cudaError_t error = submit(stream, std::move(work));
  if (error == cudaSuccess) return;
  ordered->submitted(false);
  fail(ncclUnhandledCudaError, "%s on rank %d: the launch failed with %s", name, comm->rank(), errorName(error));
}

}  // namespace emu::nccl
