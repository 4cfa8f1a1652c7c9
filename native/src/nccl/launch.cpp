#include "nccl/launch.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/thread.h"
#include "cuda/capture.h"
#include "cuda/event.h"
#include "cuda/streams.h"
#include "nccl/device_work.h"
#include "nccl/errors.h"

namespace emu::nccl {

namespace {

// Work goes to the communicator's device, whatever the calling thread's current one.
class OnDevice {
 public:
  explicit OnDevice(int device) : before_(thread::device()) { thread::setDevice(device); }
  ~OnDevice() { thread::setDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  const int before_;
};

// The operations of one communicator in a group.
class Plan {
 public:
  explicit Plan(Comm comm) : comm_(std::move(comm)) {}

  void add(const Launch& launch) {
    if (launch.operation.pointToPoint()) {
      messages_.push_back(launch.operation);
    } else {
      collectives_.push_back(launch.operation);
    }
    if (std::find(streams_.begin(), streams_.end(), launch.stream) == streams_.end()) streams_.push_back(launch.stream);
  }

  void check() const {
    const OnDevice current(comm_->device);
    for (const cudaStream_t stream : streams_) {
      if (isCapturing(stream) != isCapturing(streams_.front())) {
        fail(ncclInvalidUsage, "a group uses captured and other streams for one communicator");
      }
    }
    checkSelf();
  }

  // Of several streams the first waits for the others before, and they for it after.
  void launch() {
    const OnDevice current(comm_->device);
    const cudaStream_t stream = streams_.front();
    for (size_t i = 1; i < streams_.size(); ++i) order(streams_[i], stream);
    for (const Operation& operation : collectives_) {
      enqueue(comm_, stream, operation.function, describe(operation), [operation](auto& wait, auto& context) {
        runCollective(wait, operation, context);
      });
    }
    if (!messages_.empty()) {
      const char* name = messages_.size() == 1 ? messages_.front().function : "ncclSend and ncclRecv";
      enqueue(comm_, stream, name, "", [messages = messages_](auto& wait, auto& context) {
        runMessages(wait, messages, context);
      });
    }
    for (size_t i = 1; i < streams_.size(); ++i) order(stream, streams_[i]);
  }

 private:
  // A message to oneself needs both ends in the group; nobody else can give the other one.
  void checkSelf() const {
    size_t sends = 0;
    size_t receives = 0;
    for (const Operation& operation : messages_) {
      if (operation.root != comm_->rank()) continue;
      ++(operation.kind == Kind::Send ? sends : receives);
    }
    if (sends == receives) return;
    fail(ncclInvalidUsage, "rank %d sends %zu messages to itself and receives %zu in one group", comm_->rank(), sends,
         receives);
  }

  void order(cudaStream_t first, cudaStream_t second) const {
    std::shared_ptr<Stream> from;
    std::shared_ptr<Stream> to;
    checkCuda("a stream of the group cannot be used", resultOf([&] {
                from = streams::getForLaunch(first);
                to = streams::getForLaunch(second);
              }));
    const auto event = std::make_shared<Event>(nullptr, comm_->device, cudaEventDisableTiming);
    checkCuda("the streams of the group cannot be ordered", resultOf([&] {
                capture::recordEvent(*from, event, false);
                capture::waitEvent(to, event, false);
              }));
  }

  const Comm comm_;
  std::vector<cudaStream_t> streams_;
  std::vector<Operation> collectives_;
  std::vector<Operation> messages_;
};

}  // namespace

void launchAll(const std::vector<Launch>& launches) {
  std::vector<Plan> plans;
  std::map<CommState*, size_t> known;
  for (const Launch& launch : launches) {
    const auto [entry, added] = known.emplace(launch.comm.get(), plans.size());
    if (added) plans.emplace_back(launch.comm);
    plans[entry->second].add(launch);
  }
  for (const Plan& plan : plans) plan.check();
  for (Plan& plan : plans) plan.launch();
}

}  // namespace emu::nccl
