#include "nccl/group.h"

#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread.h"
#include "nccl/entry.h"
#include "nccl/launch.h"

namespace emu::nccl::group {

namespace {

struct Group {
  int depth = 0;
  Failure failure;
  std::vector<HostOperation> hostOperations;
  std::vector<Launch> launches;
};

thread_local Group group;

// Blocking communicators: all at once, each on a thread of its own, as each may wait for another.
void runAll(const std::vector<HostOperation>& hostOperations) {
  std::vector<Failure> ends(hostOperations.size());
  std::vector<std::thread> threads;
  threads.reserve(hostOperations.size());
  for (size_t i = 0; i < hostOperations.size(); ++i) {
    try {
      threads.emplace_back([&ends, &hostOperations, i] {
        thread::setDevice(hostOperations[i].comm->device);
        ends[i] = endOf(hostOperations[i].body);
      });
    } catch (const std::system_error& error) {
      ends[i] = {ncclSystemError, std::string("no thread for a grouped call: ") + error.what()};
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (const Failure& end : ends) check(end);
}

void abandon(const std::vector<HostOperation>& hostOperations) {
  for (const HostOperation& hostOperation : hostOperations) {
    if (hostOperation.abandon) hostOperation.abandon();
  }
}

bool blocking(const HostOperation& hostOperation) { return hostOperation.comm->blocking; }

// Whether all communicators of the group block, or none.
bool alike(const Group& all) {
  bool some = false;
  bool others = false;
  for (const HostOperation& hostOperation : all.hostOperations) (blocking(hostOperation) ? some : others) = true;
  for (const Launch& launch : all.launches) (launch.comm->blocking ? some : others) = true;
  return !(some && others);
}

ncclResult_t perform(Group work) {
  if (work.failure.code == ncclSuccess && !alike(work)) {
    work.failure = {ncclInvalidArgument, "blocking and non-blocking communicators in one group"};
  }
  if (work.failure.code != ncclSuccess) abandon(work.hostOperations);
  check(work.failure);
  bool inProgress = !work.hostOperations.empty() && !blocking(work.hostOperations.front());
  if (inProgress) {
    for (HostOperation& each : work.hostOperations) each.comm->runInBackground(std::move(each.body));
  } else {
    runAll(work.hostOperations);
  }
  launchAll(work.launches);
  if (!work.launches.empty() && !work.launches.front().comm->blocking) inProgress = true;
  return inProgress ? ncclInProgress : ncclSuccess;
}

}  // namespace

void start() { ++group.depth; }

ncclResult_t end() {
  if (group.depth == 0) fail(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group.depth > 0) return ncclSuccess;
  return perform(std::exchange(group, Group()));
}

void discard() {
  if (group.depth == 0) fail(ncclInvalidUsage, "ncclGroupSimulateEnd without ncclGroupStart");
  if (--group.depth > 0) return;
  const Group dropped = std::exchange(group, Group());
  abandon(dropped.hostOperations);
  check(dropped.failure);
  if (!dropped.hostOperations.empty()) fail(ncclInvalidUsage, "a simulated group may hold operations only");
}

ncclResult_t runHostOperation(HostOperation hostOperation) {
  const bool blocks = blocking(hostOperation);
  if (group.depth > 0) {
    group.hostOperations.push_back(std::move(hostOperation));
    return blocks ? ncclSuccess : ncclInProgress;
  }
  if (!blocks) {
    const Comm comm = hostOperation.comm;
    comm->runInBackground(std::move(hostOperation.body));
    return ncclInProgress;
  }
  hostOperation.body();
  return ncclSuccess;
}

ncclResult_t add(const Comm& comm, cudaStream_t stream, const Operation& operation) {
  if (group.depth > 0) {
    group.launches.push_back({comm, stream, operation});
    return ncclSuccess;
  }
  launchAll({{comm, stream, operation}});
  return comm->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t note(ncclResult_t result) {
  if (group.depth > 0 && group.failure.code == ncclSuccess && result != ncclSuccess && result != ncclInProgress) {
    group.failure = {result, lastError()};
  }
  return result;
}

}  // namespace emu::nccl::group

namespace emu::nccl {

namespace {

// There is no model of a GPU's time here, so the estimate is the value that means unknown.
void simulateEnd(ncclSimInfo_t* info) {
  group::discard();
  if (info == nullptr) return;
  if (!given(info)) fail(ncclInvalidArgument, "simInfo cannot be written");
  if (info->magic != NCCL_SIM_INFO_MAGIC || info->size < sizeof(ncclSimInfo_t)) {
    fail(ncclInvalidArgument, "simInfo was not set up with NCCL_SIM_INFO_INITIALIZER");
  }
  info->estimatedTime = NCCL_UNDEF_FLOAT;
}

}  // namespace

EMU_NCCL(ncclGroupStart, (void), (), group::start())

EMU_NCCL(ncclGroupEnd, (void), (), group::end())

EMU_NCCL(ncclGroupSimulateEnd, (ncclSimInfo_t* simInfo), (simInfo), simulateEnd(simInfo))

}  // namespace emu::nccl
