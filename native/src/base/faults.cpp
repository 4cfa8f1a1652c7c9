#include "base/faults.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "base/never_destroyed.h"
#include "nccl4j_emulator.h"

namespace emu::faults {

namespace {

constexpr int kMaxPeers = 64;

struct Fault {
  int kind;
  int subject;      // -1 = any until it strikes; a lasting fault then belongs to the rank that it struck
  uint64_t left;    // operations until it strikes; 0 = a lasting fault that has struck
  int64_t value;
};

class Faults {
 public:
  bool any() const { return any_.load(std::memory_order_relaxed); }

  void inject(const Fault& fault) {
    const std::lock_guard<std::mutex> lock(mutex_);
    faults_.push_back(fault);
    any_.store(true, std::memory_order_relaxed);
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    faults_.clear();
    any_.store(false, std::memory_order_relaxed);
  }

  // Counts one event for all faults of the kind; true if one of them strikes.
  bool strike(int kind, int subject) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bool struck = false;
    for (size_t i = 0; i < faults_.size();) {
      Fault& fault = faults_[i];
      if (fault.kind == kind && concerns(fault, subject) && --fault.left == 0) {
        struck = true;
        faults_.erase(faults_.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
    any_.store(!faults_.empty(), std::memory_order_relaxed);
    return struck;
  }

  Operation operation(int rank) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Operation result;
    for (Fault& fault : faults_) {
      if (!isOperationFault(fault.kind) || !concerns(fault, rank)) continue;
      if (fault.left > 0 && --fault.left > 0) continue;
      fault.subject = rank;
      apply(fault, &result);
    }
    // A delay strikes once.
    faults_.erase(std::remove_if(faults_.begin(), faults_.end(),
                                 [](const Fault& fault) { return fault.kind == NCCL4J_EMU_FAULT_DELAY && fault.left == 0; }),
                  faults_.end());
    any_.store(!faults_.empty(), std::memory_order_relaxed);
    return result;
  }

 private:
  static bool concerns(const Fault& fault, int subject) { return fault.subject < 0 || fault.subject == subject; }

  static bool isOperationFault(int kind) {
    return kind == NCCL4J_EMU_FAULT_DELAY || kind == NCCL4J_EMU_FAULT_SILENCE || kind == NCCL4J_EMU_FAULT_END_PROCESS ||
           kind == NCCL4J_EMU_FAULT_DROP_MESSAGES || kind == NCCL4J_EMU_FAULT_SLOW_LINK;
  }

  static void apply(const Fault& fault, Operation* operation) {
    switch (fault.kind) {
      case NCCL4J_EMU_FAULT_DELAY: operation->delayMs += static_cast<uint64_t>(fault.value); break;
      case NCCL4J_EMU_FAULT_SLOW_LINK: operation->linkDelayMs += static_cast<uint64_t>(fault.value); break;
      case NCCL4J_EMU_FAULT_SILENCE: operation->silent = true; break;
      case NCCL4J_EMU_FAULT_DROP_MESSAGES: operation->deaf |= uint64_t{1} << fault.value; break;
      default: kill(getpid(), SIGKILL); break;
    }
  }

  std::atomic<bool> any_{false};
  std::mutex mutex_;
  std::vector<Fault> faults_;
};

Faults& all() { return neverDestroyed<Faults>(); }

}  // namespace

bool failAllocation(int device) { return all().any() && all().strike(NCCL4J_EMU_FAULT_ALLOCATION, device); }

bool failLaunch(int device) { return all().any() && all().strike(NCCL4J_EMU_FAULT_LAUNCH, device); }

Operation onOperation(int rank) { return all().any() ? all().operation(rank) : Operation{}; }

int inject(int kind, int subject, uint64_t nth, int64_t value) {
  if (kind < NCCL4J_EMU_FAULT_DELAY || kind > NCCL4J_EMU_FAULT_SLOW_LINK) return NCCL4J_EMU_UNKNOWN_NAME;
  if (subject < -1 || nth == 0) return NCCL4J_EMU_BAD_VALUE;
  const bool delays = kind == NCCL4J_EMU_FAULT_DELAY || kind == NCCL4J_EMU_FAULT_SLOW_LINK;
  if (delays && value < 0) return NCCL4J_EMU_BAD_VALUE;
  if (kind == NCCL4J_EMU_FAULT_DROP_MESSAGES && (value < 0 || value >= kMaxPeers)) return NCCL4J_EMU_BAD_VALUE;
  all().inject(Fault{kind, subject, nth, value});
  return NCCL4J_EMU_OK;
}

void clear() { all().clear(); }

}  // namespace emu::faults
