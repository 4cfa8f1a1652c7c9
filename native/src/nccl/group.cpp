#include "nccl/group.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread.h"
#include "base/try.h"
#include "nccl/errors.h"
#include "nccl/launch.h"

namespace emu::nccl::group {

namespace {

struct Group {
  int depth = 0;
  ncclResult_t error = ncclSuccess;
  std::string errorText;
  std::vector<HostOperation> hostOperations;
  std::vector<Launch> launches;
};

thread_local Group group;

struct Answer {
  ncclResult_t result = ncclSuccess;
  std::string text;
};

Answer runOne(const HostOperation& hostOperation) {
  Answer answer;
  answer.result = hostOperation.body(&answer.text);
  return answer;
}

// Blocking communicators: all at once, each on a thread of its own, as each may wait for another.
Answer runAll(const std::vector<HostOperation>& hostOperations) {
  std::vector<Answer> answers(hostOperations.size());
  std::vector<std::thread> threads;
  threads.reserve(hostOperations.size());
  for (size_t i = 0; i < hostOperations.size(); ++i) {
    try {
      threads.emplace_back([&answers, &hostOperations, i] {
        thread::setDevice(hostOperations[i].comm->device);
        answers[i] = runOne(hostOperations[i]);
      });
    } catch (const std::system_error& error) {
      answers[i] = {ncclSystemError, std::string("no thread for a grouped call: ") + error.what()};
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (const Answer& answer : answers) {
    if (answer.result != ncclSuccess) return answer;
  }
  return {};
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
  if (work.error == ncclSuccess && !alike(work)) {
    work.error = ncclInvalidArgument;
    work.errorText = "blocking and non-blocking communicators in one group";
  }
  if (work.error != ncclSuccess) {
    abandon(work.hostOperations);
    return failWith(work.error, work.errorText);
  }
  bool inProgress = false;
  if (!work.hostOperations.empty()) {
    if (blocking(work.hostOperations.front())) {
      const Answer answer = runAll(work.hostOperations);
      if (answer.result != ncclSuccess) return failWith(answer.result, answer.text);
    } else {
      for (HostOperation& hostOperation : work.hostOperations) hostOperation.comm->runInBackground(std::move(hostOperation.body));
      inProgress = true;
    }
  }
  EMU_TRY(launchAll(work.launches));
  if (!work.launches.empty() && !work.launches.front().comm->blocking) inProgress = true;
  return inProgress ? ncclInProgress : ncclSuccess;
}

}  // namespace

ncclResult_t start() {
  ++group.depth;
  return ncclSuccess;
}

ncclResult_t end() {
  if (group.depth == 0) return fail(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group.depth > 0) return ncclSuccess;
  return perform(std::exchange(group, Group()));
}

ncclResult_t discard() {
  if (group.depth == 0) return fail(ncclInvalidUsage, "ncclGroupSimulateEnd without ncclGroupStart");
  if (--group.depth > 0) return ncclSuccess;
  const Group dropped = std::exchange(group, Group());
  abandon(dropped.hostOperations);
  if (dropped.error != ncclSuccess) return failWith(dropped.error, dropped.errorText);
  if (!dropped.hostOperations.empty()) return fail(ncclInvalidUsage, "a simulated group may hold operations only");
  return ncclSuccess;
}

ncclResult_t runHostOperation(HostOperation hostOperation) {
  const bool blocks = blocking(hostOperation);
  if (group.depth > 0) {
    group.hostOperations.push_back(std::move(hostOperation));
    return blocks ? ncclSuccess : ncclInProgress;
  }
  if (!blocks) {
    const std::shared_ptr<CommState> comm = hostOperation.comm;
    comm->runInBackground(std::move(hostOperation.body));
    return ncclInProgress;
  }
  const Answer answer = runOne(hostOperation);
  return answer.result == ncclSuccess ? ncclSuccess : failWith(answer.result, answer.text);
}

ncclResult_t add(const std::shared_ptr<CommState>& comm, cudaStream_t stream, const Operation& operation) {
  if (group.depth > 0) {
    group.launches.push_back({comm, stream, operation});
    return ncclSuccess;
  }
  EMU_TRY(launchAll({{comm, stream, operation}}));
  return comm->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t note(ncclResult_t result) {
  if (group.depth > 0 && group.error == ncclSuccess && result != ncclSuccess && result != ncclInProgress) {
    group.error = result;
    group.errorText = lastError();
  }
  return result;
}

}  // namespace emu::nccl::group
