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
  bool over = false;
};

struct Faults {
  std::atomic<bool> any{false};
  std::mutex mutex;
  std::vector<Fault> all;
};

Faults& faults() { return neverDestroyed<Faults>(); }

bool concerns(const Fault& fault, int subject) { return fault.subject < 0 || fault.subject == subject; }

// Under the lock.
void forgetThoseOver() {
  std::vector<Fault>& all = faults().all;
  all.erase(std::remove_if(all.begin(), all.end(), [](const Fault& fault) { return fault.over; }), all.end());
  faults().any.store(!all.empty(), std::memory_order_relaxed);
}

// Counts one event for all faults of the kind; true if one of them strikes.
bool strike(int kind, int subject) {
  if (!faults().any.load(std::memory_order_relaxed)) return false;
  const std::lock_guard<std::mutex> lock(faults().mutex);
  bool struck = false;
  for (Fault& fault : faults().all) {
    if (fault.kind == kind && concerns(fault, subject) && --fault.left == 0) struck = fault.over = true;
  }
  forgetThoseOver();
  return struck;
}

void apply(const Fault& fault, Operation* operation) {
  switch (fault.kind) {
    case NCCL4J_EMU_FAULT_DELAY: operation->delayMs += static_cast<uint64_t>(fault.value); break;
    case NCCL4J_EMU_FAULT_SLOW_LINK: operation->linkDelayMs += static_cast<uint64_t>(fault.value); break;
    case NCCL4J_EMU_FAULT_SILENCE: operation->silent = true; break;
    case NCCL4J_EMU_FAULT_DROP_MESSAGES: operation->deaf |= uint64_t{1} << fault.value; break;
    default: kill(getpid(), SIGKILL); break;
  }
}

}  // namespace

bool failAllocation(int device) { return strike(NCCL4J_EMU_FAULT_ALLOCATION, device); }

bool failLaunch(int device) { return strike(NCCL4J_EMU_FAULT_LAUNCH, device); }

Operation onOperation(int rank) {
  Operation result;
  if (!faults().any.load(std::memory_order_relaxed)) return result;
  const std::lock_guard<std::mutex> lock(faults().mutex);
  for (Fault& fault : faults().all) {
    if (fault.kind == NCCL4J_EMU_FAULT_ALLOCATION || fault.kind == NCCL4J_EMU_FAULT_LAUNCH) continue;
    if (!concerns(fault, rank) || (fault.left > 0 && --fault.left > 0)) continue;
    fault.subject = rank;
    apply(fault, &result);
    fault.over = fault.kind == NCCL4J_EMU_FAULT_DELAY;  // strikes once
  }
  forgetThoseOver();
  return result;
}

int inject(int kind, int subject, uint64_t nth, int64_t value) {
  if (kind < NCCL4J_EMU_FAULT_DELAY || kind > NCCL4J_EMU_FAULT_SLOW_LINK) return NCCL4J_EMU_UNKNOWN_NAME;
  if (subject < -1 || nth == 0) return NCCL4J_EMU_BAD_VALUE;
  const bool delays = kind == NCCL4J_EMU_FAULT_DELAY || kind == NCCL4J_EMU_FAULT_SLOW_LINK;
  if (delays && value < 0) return NCCL4J_EMU_BAD_VALUE;
  if (kind == NCCL4J_EMU_FAULT_DROP_MESSAGES && (value < 0 || value >= kMaxPeers)) return NCCL4J_EMU_BAD_VALUE;
  const std::lock_guard<std::mutex> lock(faults().mutex);
  faults().all.push_back(Fault{kind, subject, nth, value});
  faults().any.store(true, std::memory_order_relaxed);
  return NCCL4J_EMU_OK;
}

void clear() {
  const std::lock_guard<std::mutex> lock(faults().mutex);
  faults().all.clear();
  faults().any.store(false, std::memory_order_relaxed);
}

}  // namespace emu::faults
