#include "nccl/group.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread.h"
#include "nccl/errors.h"
#include "nccl/launch.h"

namespace emu::nccl::group {

namespace {

struct Group {
  int depth = 0;
  ncclResult_t error = ncclSuccess;
  std::string errorText;
  std::vector<Meeting> meetings;
  std::vector<Launch> launches;
};

thread_local Group group;

struct Answer {
  ncclResult_t result = ncclSuccess;
  std::string text;
};

Answer attend(const Meeting& meeting) {
  Answer answer;
  answer.result = meeting.body(&answer.text);
  return answer;
}

// Blocking communicators: all at once, each on a thread of its own, as each may wait for another.
Answer attendAll(const std::vector<Meeting>& meetings) {
  std::vector<Answer> answers(meetings.size());
  std::vector<std::thread> threads;
  threads.reserve(meetings.size());
  for (size_t i = 0; i < meetings.size(); ++i) {
    try {
      threads.emplace_back([&answers, &meetings, i] {
        thread::setDevice(meetings[i].comm->device);
        answers[i] = attend(meetings[i]);
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

void abandon(const std::vector<Meeting>& meetings) {
  for (const Meeting& meeting : meetings) {
    if (meeting.abandon) meeting.abandon();
  }
}

bool blocking(const Meeting& meeting) { return meeting.comm->blocking; }

// Whether all communicators of the group block, or none.
bool alike(const Group& all) {
  bool some = false;
  bool others = false;
  for (const Meeting& meeting : all.meetings) (blocking(meeting) ? some : others) = true;
  for (const Launch& launch : all.launches) (launch.comm->blocking ? some : others) = true;
  return !(some && others);
}

ncclResult_t perform(Group work) {
  if (work.error == ncclSuccess && !alike(work)) {
    work.error = ncclInvalidArgument;
    work.errorText = "blocking and non-blocking communicators in one group";
  }
  if (work.error != ncclSuccess) {
    abandon(work.meetings);
    return failWith(work.error, work.errorText);
  }
  bool inProgress = false;
  if (!work.meetings.empty()) {
    if (blocking(work.meetings.front())) {
      const Answer answer = attendAll(work.meetings);
      if (answer.result != ncclSuccess) return failWith(answer.result, answer.text);
    } else {
      for (Meeting& meeting : work.meetings) meeting.comm->runInBackground(std::move(meeting.body));
      inProgress = true;
    }
  }
  const ncclResult_t launched = launchAll(work.launches);
  if (launched != ncclSuccess) return launched;
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
  abandon(dropped.meetings);
  if (dropped.error != ncclSuccess) return failWith(dropped.error, dropped.errorText);
  if (!dropped.meetings.empty()) return fail(ncclInvalidUsage, "a simulated group may hold operations only");
  return ncclSuccess;
}

ncclResult_t meet(Meeting meeting) {
  const bool blocks = blocking(meeting);
  if (group.depth > 0) {
    group.meetings.push_back(std::move(meeting));
    return blocks ? ncclSuccess : ncclInProgress;
  }
  if (!blocks) {
    const std::shared_ptr<CommState> comm = meeting.comm;
    comm->runInBackground(std::move(meeting.body));
    return ncclInProgress;
  }
  const Answer answer = attend(meeting);
  return answer.result == ncclSuccess ? ncclSuccess : failWith(answer.result, answer.text);
}

ncclResult_t add(const std::shared_ptr<CommState>& comm, cudaStream_t stream, const Operation& operation) {
  if (group.depth > 0) {
    group.launches.push_back({comm, stream, operation});
    return ncclSuccess;
  }
  const ncclResult_t launched = launchAll({{comm, stream, operation}});
  if (launched != ncclSuccess) return launched;
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
