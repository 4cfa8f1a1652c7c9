#include "nccl/state.h"

#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/calls.h"
#include "base/object_counts.h"
#include "base/thread.h"
#include "base/try.h"
#include "nccl/errors.h"
#include "nccl/call_sequence.h"
#include "nccl/delayed_free.h"

namespace emu {

namespace {

constexpr uint64_t kCommMagic = 0x636f6d6d6e63346a;

struct Registry {
  std::mutex mutex;
  std::unordered_map<ncclComm_t, std::shared_ptr<nccl::CommState>> live;
};

// Never destroyed: communicators may be used while the process ends.
Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

}  // namespace

ncclComm* communicator(ncclComm_t comm) {
  const std::shared_ptr<nccl::CommState> state = nccl::find(comm);
  if (state == nullptr || state->stage.load(std::memory_order_acquire) == nccl::Stage::Starting) return nullptr;
  return state.get();
}

ncclWindow_vidmem* window(ncclComm_t comm, ncclWindow_t window) {
  const std::shared_ptr<nccl::CommState> state = nccl::find(comm);
  if (state == nullptr) return nullptr;
  const std::lock_guard<std::mutex> lock(state->mutex);
  const auto found = state->windows.find(window);
  return found == state->windows.end() ? nullptr : found->second.get();
}

std::string noteCollective(ncclComm_t comm, const std::string& operation) {
  const std::shared_ptr<nccl::CommState> state = nccl::find(comm);
  if (state == nullptr || state->stage.load(std::memory_order_acquire) == nccl::Stage::Starting) return "";
  state->noteCollective(operation);
  std::string text = state->callsDiffer();
  if (!text.empty()) state->ranks().failCrossed(text);
  return text;
}

namespace nccl {

CommState::CommState(int deviceOrdinal, const Config& configuration) : ncclComm{}, config(configuration) {
  magic = kCommMagic;
  device = deviceOrdinal;
  blocking = configuration.blocking;
}

CommState::~CommState() { joinBackground(); }

void CommState::attach(std::shared_ptr<SharedTeam> ranks) {
  ranks_ = std::move(ranks);
  team = ranks_;
  topology = Topology(ranks_->hosts());
  // Either this sees an abort, or abort() sees the ranks: the order of both is sequentially consistent.
  stage.store(Stage::Ready);
  if (abort_.load()) ranks_->abort();
}

ncclResult_t CommState::asyncError() {
  {
    const std::lock_guard<std::mutex> lock(asyncMutex_);
    if (async_ != ncclSuccess) return async_;
  }
  // Another rank may have failed while this one was doing nothing.
  if (stage.load(std::memory_order_acquire) != Stage::Starting && ranks_->failed()) {
    int rank = -1;
    ncclResult_t code = ncclRemoteError;
    std::string text;
    ranks_->failure(&rank, &code, &text);
    const bool own = rank == ranks_->rank() || ranks_->crossed();
    failAsync(own ? code : ncclRemoteError, ranks_->failureText());
    const std::lock_guard<std::mutex> lock(asyncMutex_);
    return async_;
  }
  return ncclSuccess;
}

std::string CommState::asyncText() {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  return asyncText_;
}

void CommState::begin() {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  async_ = ncclInProgress;
  asyncText_.clear();
}

void CommState::finish(ncclResult_t result, const std::string& text) {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  async_ = result;
  asyncText_ = result == ncclSuccess ? "" : text;
}

void CommState::failAsync(ncclResult_t result, const std::string& text) {
  const std::lock_guard<std::mutex> lock(asyncMutex_);
  if (async_ != ncclSuccess) return;
  async_ = result;
  asyncText_ = text;
}

void CommState::noteCollective(const std::string& operation) {
  const std::lock_guard<std::mutex> lock(callsMutex_);
  const std::string text = noteCall(*ranks_, operation);
  if (callsDiffer_.empty()) callsDiffer_ = text;
}

std::string CommState::callsDiffer() {
  const std::lock_guard<std::mutex> lock(callsMutex_);
  return callsDiffer_;
}

void CommState::runInBackground(std::function<ncclResult_t(std::string*)> body) {
  joinBackground();
  begin();
  try {
    background_ = std::thread([this, body = std::move(body)] {
      thread::setDevice(device);
      std::string text;
      const ncclResult_t result = body(&text);
      finish(result, text);
    });
  } catch (const std::system_error& error) {
    finish(ncclSystemError, std::string("no thread for a non-blocking communicator: ") + error.what());
  }
}

void CommState::joinBackground() {
  if (background_.joinable()) background_.join();
}

void CommState::abort() {
  abort_.store(true);
  if (stage.load() != Stage::Starting) ranks_->abort();
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
  if (stage.load(std::memory_order_acquire) != Stage::Starting) ranks_->leave();
}

std::shared_ptr<CommState> create(int device, const Config& config) {
  auto state = std::allocate_shared<CommState>(DelayedFreeAllocator<CommState>(), device, config);
  Registry& known = registry();
  const std::lock_guard<std::mutex> lock(known.mutex);
  known.live.emplace(state.get(), state);
  objects::communicators.add(device, 1);
  return state;
}

std::shared_ptr<CommState> find(ncclComm_t comm) {
  Registry& known = registry();
  const std::lock_guard<std::mutex> lock(known.mutex);
  const auto found = known.live.find(comm);
  return found == known.live.end() ? nullptr : found->second;
}

std::shared_ptr<CommState> take(ncclComm_t comm) {
  Registry& known = registry();
  const std::lock_guard<std::mutex> lock(known.mutex);
  const auto found = known.live.find(comm);
  if (found == known.live.end()) return nullptr;
  std::shared_ptr<CommState> state = std::move(found->second);
  known.live.erase(found);
  objects::communicators.add(state->device, -1);
  return state;
}

std::shared_ptr<CommState> ownerOf(ncclWindow_t window) {
  std::vector<std::shared_ptr<CommState>> all;
  {
    Registry& known = registry();
    const std::lock_guard<std::mutex> lock(known.mutex);
    for (const auto& entry : known.live) all.push_back(entry.second);
  }
  for (const std::shared_ptr<CommState>& comm : all) {
    const std::lock_guard<std::mutex> lock(comm->mutex);
    if (comm->windows.count(window) != 0) return comm;
  }
  return nullptr;
}

ncclResult_t ready(ncclComm_t comm, Comm* out) {
  if (comm == nullptr) return fail(ncclInvalidArgument, "comm is NULL");
  const Comm state = find(comm);
  if (state == nullptr) return fail(ncclInvalidArgument, "comm %p is not a live communicator", static_cast<void*>(comm));
  const bool started = state->stage.load(std::memory_order_acquire) != Stage::Starting;
  if (started) calls::setRank(state->rank());
  const ncclResult_t async = state->asyncError();
  if (async == ncclInProgress || (async == ncclSuccess && !started)) {
    return fail(ncclInvalidArgument, "comm %p is still in progress: ncclCommGetAsyncError must answer ncclSuccess first",
                static_cast<void*>(comm));
  }
  if (async != ncclSuccess) return failWith(async, "the communicator has failed: " + state->asyncText());
  *out = state;
  return ncclSuccess;
}

ncclResult_t usable(ncclComm_t comm, Comm* out) {
  EMU_TRY(ready(comm, out));
  switch ((*out)->stage.load(std::memory_order_acquire)) {
    case Stage::Finalized: return fail(ncclInvalidArgument, "ncclCommFinalize was called on the communicator");
    case Stage::Suspended: return fail(ncclInvalidUsage, "the communicator is suspended");
    default: return ncclSuccess;
  }
}

}  // namespace nccl
}  // namespace emu
