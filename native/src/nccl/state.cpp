#include "nccl/state.h"

#include <system_error>
#include <utility>

#include "base/calls.h"
#include "base/live_objects.h"
#include "base/never_destroyed.h"
#include "base/object_counts.h"
#include "base/thread.h"
#include "nccl/call_sequence.h"
#include "nccl/delayed_free.h"

namespace emu {

namespace {

using Communicators = LiveObjects<ncclComm_t, nccl::CommState>;
Communicators& live() { return neverDestroyed<Communicators>(); }

}  // namespace

ncclComm* communicator(ncclComm_t comm) {
  const nccl::Comm state = nccl::find(comm);
  return state != nullptr && state->started() ? state.get() : nullptr;
}

ncclWindow_vidmem* window(ncclComm_t comm, ncclWindow_t window) {
  const nccl::Comm state = nccl::find(comm);
  if (state == nullptr) return nullptr;
  const std::lock_guard<std::mutex> lock(state->mutex);
  const auto found = state->windows.find(window);
  return found == state->windows.end() ? nullptr : found->second.get();
}

std::string noteCollective(ncclComm_t comm, const std::string& operation) {
  const nccl::Comm state = nccl::find(comm);
  if (state == nullptr || !state->started()) return "";
  state->noteCollective(operation);
  std::string text = state->callsDiffer();
  if (!text.empty()) state->ranks().failMismatched(text);
  return text;
}

namespace nccl {

void CommState::attach(std::shared_ptr<Team> ranks) {
  team = std::move(ranks);
  topology = Topology(team->hosts());
  // Either this sees an abort, or abort() sees the ranks: the order of both is sequentially consistent.
  stage.store(Stage::Ready);
  if (abort_.load()) team->abort();
}

ncclResult_t CommState::asyncError() {
  {
    const std::lock_guard<std::mutex> lock(asyncMutex_);
    if (async_ != ncclSuccess) return async_;
  }
  // Another rank may have failed while this one was doing nothing.
  if (!started() || !team->failed()) return ncclSuccess;
  const arena::RecordedFailure failure = team->failure();
  const bool own = failure.rank == team->rank() || team->mismatched();
  failAsync(own ? failure.code : ncclRemoteError, team->failureText());
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  return async_;
}

std::string CommState::asyncText() {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  return asyncText_;
}

void CommState::finish(const Failure& end) {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  async_ = end.code;
  asyncText_ = end.text;
}

void CommState::failAsync(ncclResult_t result, const std::string& text) {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  if (async_ != ncclSuccess) return;
  async_ = result;
  asyncText_ = text;
}

void CommState::noteCollective(const std::string& operation) {
  const std::lock_guard<std::mutex> lock(callsMutex_);
  const std::string text = noteCall(*team, operation);
  if (callsDiffer_.empty()) callsDiffer_ = text;
}

std::string CommState::callsDiffer() {
  const std::lock_guard<std::mutex> lock(callsMutex_);
  return callsDiffer_;
}

void CommState::runInBackground(std::function<void()> body) {
  joinBackground();
  finish({ncclInProgress, ""});
  try {
    background_ = std::thread([this, body = std::move(body)] {
      thread::setDevice(device);
      finish(endOf(body));
    });
  } catch (const std::system_error& error) {
    finish({ncclSystemError, std::string("no thread for a non-blocking communicator: ") + error.what()});
  }
}

void CommState::joinBackground() {
  if (background_.joinable()) background_.join();
}

void CommState::abort() {
  abort_.store(true);
  if (started()) team->abort();
}

void CommState::close() {
  joinBackground();
  std::map<ncclWindow_t, std::shared_ptr<ncclWindow_vidmem>> gone;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    gone.swap(windows);
    registrations.clear();
    operators.clear();
  }
  objects::windows.add(device, -static_cast<int64_t>(gone.size()));
  if (started()) team->leave();
}

Comm create(int device, bool blocking) {
  auto state = std::allocate_shared<CommState>(DelayedFreeAllocator<CommState>(), device, blocking);
  live().add(state.get(), state);
  objects::communicators.add(device, 1);
  return state;
}

Comm find(ncclComm_t comm) { return live().find(comm); }

Comm take(ncclComm_t comm) {
  Comm state = live().take(comm);
  if (state != nullptr) objects::communicators.add(state->device, -1);
  return state;
}

Comm ownerOf(ncclWindow_t window, std::shared_ptr<const ncclWindow_vidmem>* found) {
  for (const Comm& comm : live().all()) {
    const std::lock_guard<std::mutex> lock(comm->mutex);
    const auto entry = comm->windows.find(window);
    if (entry == comm->windows.end()) continue;
    *found = entry->second;
    return comm;
  }
  return nullptr;
}

Comm existing(ncclComm_t comm, Comm found) {
  if (found == nullptr) fail(ncclInvalidArgument, "comm %p is not a live communicator", static_cast<void*>(comm));
  if (found->started()) calls::setRank(found->rank());
  return found;
}

Comm ready(ncclComm_t comm) {
  if (comm == nullptr) fail(ncclInvalidArgument, "comm is NULL");
  const Comm state = existing(comm, find(comm));
  const bool started = state->started();
  const ncclResult_t async = state->asyncError();
  if (async == ncclInProgress || (async == ncclSuccess && !started)) {
    fail(ncclInvalidArgument, "comm %p is still in progress: ncclCommGetAsyncError must answer ncclSuccess first",
         static_cast<void*>(comm));
  }
  if (async != ncclSuccess) throw Failure{async, "the communicator has failed: " + state->asyncText()};
  return state;
}

Comm usable(ncclComm_t comm) {
  Comm state = ready(comm);
  const Stage stage = state->stage.load(std::memory_order_acquire);
  if (stage == Stage::Finalized) fail(ncclInvalidArgument, "ncclCommFinalize was called on the communicator");
  if (stage == Stage::Suspended) fail(ncclInvalidUsage, "the communicator is suspended");
  return state;
}

}  // namespace nccl
}  // namespace emu
