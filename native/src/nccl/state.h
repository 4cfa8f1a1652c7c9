// A communicator as the NCCL room sees it, and the registry of those that live.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "nccl/communicator.h"
#include "nccl/errors.h"
#include "nccl/reduction.h"
#include "nccl/team.h"
#include "nccl/call_order.h"

namespace emu::nccl {

// An operator made by ncclRedOpCreatePreMulSum.
struct PreMulSum {
  ncclDataType_t type = ncclFloat32;
  bool onDevice = false;
  const void* device = nullptr;
  unsigned char immediate[8] = {};
};

// How far a communicator's life has gone.
enum class Stage { Starting, Ready, Finalized, Suspended };

class CommState final : public ncclComm, public std::enable_shared_from_this<CommState> {
 public:
  CommState(int ofDevice, bool blocks) : ncclComm{ofDevice, blocks, nullptr, {}} {}
  ~CommState() { joinBackground(); }

  // Gives the communicator its ranks; from now on it can be used.
  void attach(std::shared_ptr<Team> ranks);
  bool started() const { return stage.load() != Stage::Starting; }
  Team& ranks() { return *team; }

  // ---- what ncclCommGetAsyncError answers ----
  ncclResult_t asyncError();
  std::string asyncText();
  void finish(const Failure& end);
  void failAsync(ncclResult_t result, const std::string& text);  // the first failure stays

  // Runs `body` on a thread of its own that close() waits for: ncclInProgress until it ends.
  void runInBackground(std::function<void()> body);
  void joinBackground();

  // ---- end of life ----
  // Device work and pending init give up from now on.
  void abort();
  bool aborted() const { return abort_.load(std::memory_order_acquire); }
  // No longer a communicator of anybody: its ranks are left, its windows are gone.
  void close();

  std::atomic<Stage> stage{Stage::Starting};
  CallOrder order;
  std::mutex issue;  // held while work is put on a stream
  // Notes a collective operation in the order of the calls. What follows a difference between the ranks is reported by
  // the work when it runs.
  void noteCollective(const std::string& operation);
  std::string callsDiffer();  // "" or a text that names the first two calls that differ
  std::atomic<int> captured{0};  // pieces of its work that live in graphs

  std::mutex mutex;  // of what follows
  std::map<unsigned int, std::shared_ptr<PreMulSum>> operators;
  unsigned int nextOperator = ncclNumOps;
  std::map<ncclWindow_t, std::shared_ptr<ncclWindow_vidmem>> windows;
  uint64_t registeredWindows = 0;  // so far: the next ordinal
  std::set<uintptr_t> registrations;  // of ncclCommRegister

 private:
  std::atomic<bool> abort_{false};
  std::mutex asyncMutex_;
  ncclResult_t async_ = ncclInProgress;
  std::string asyncText_;
  std::thread background_;
  std::mutex callsMutex_;
  std::string callsDiffer_;
};

using Comm = std::shared_ptr<CommState>;

// ---- registry ----

Comm create(int device, bool blocking);
Comm find(ncclComm_t comm);  // NULL unless live
// Takes the communicator out: only one caller gets it.
Comm take(ncclComm_t comm);

// The live communicator that the live window belongs to, and the window; NULL if there is none.
Comm ownerOf(ncclWindow_t window, std::shared_ptr<const ncclWindow_vidmem>* found);

// The communicator that was found or taken for `comm`, which a call is about; fails if there was none.
Comm existing(ncclComm_t comm, Comm found);
// The communicator, which is live, initialised and without error.
Comm ready(ncclComm_t comm);
// Likewise, and it takes operations.
Comm usable(ncclComm_t comm);

}  // namespace emu::nccl
