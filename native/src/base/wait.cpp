#include "base/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <mutex>

#include "base/never_destroyed.h"
#include "base/options.h"

namespace emu {

namespace {

// The lowest bit says that somebody may be waiting; the others count the notifications.
constexpr uint32_t kWaiting = 1;
constexpr uint32_t kNotification = 2;
// How often a wait looks at what notifies nobody.
constexpr uint64_t kSlice = 50'000'000;

std::atomic<bool> broken{false};

struct Reason {
  std::mutex mutex;
  std::string text;
};

Reason& reason() { return neverDestroyed<Reason>(); }

void futexWait(std::atomic<uint32_t>& word, uint32_t expected, uint64_t nanoseconds) {
  timespec timeout;
  timeout.tv_sec = static_cast<time_t>(nanoseconds / 1'000'000'000);
  timeout.tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000);
  // Not FUTEX_PRIVATE_FLAG: the word may lie in memory shared with other processes.
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected,
          nanoseconds == kNoDeadline ? nullptr : &timeout, nullptr, 0);
}

}  // namespace

uint64_t now() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

void EventCount::notifyAll() {
  uint32_t old = count.load(std::memory_order_relaxed);
  while (!count.compare_exchange_weak(old, (old + kNotification) & ~kWaiting, std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
  }
  if ((old & kWaiting) != 0) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&count), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
}

WaitEnd waitUntil(EventCount& changed, const std::function<bool()>& ready, uint64_t deadline,
                  const std::function<bool()>& cancelled) {
  while (true) {
    if (ready()) return WaitEnd::Ready;
    const uint32_t seen = prepareWait(changed);
    if (ready()) return WaitEnd::Ready;
    if (broken.load(std::memory_order_acquire) || (cancelled && cancelled())) return WaitEnd::Broken;
    const uint64_t time = now();
    if (time >= deadline) return WaitEnd::Timeout;
    const uint64_t left = deadline - time;
    futexWait(changed.count, seen, left < kSlice ? left : kSlice);
  }
}

void commitWait(EventCount& changed, uint32_t seen) { futexWait(changed.count, seen, kNoDeadline); }

// Announces a waiter; answers the value to sleep on.
uint32_t prepareWait(EventCount& changed) {
  return changed.count.fetch_or(kWaiting, std::memory_order_acq_rel) | kWaiting;
}

uint64_t waitLimit() {
  const uint64_t milliseconds = options::waitLimitMs();
  if (milliseconds == 0) return kNoDeadline;
  const uint64_t time = now();
  const uint64_t most = (kNoDeadline - 1 - time) / 1'000'000;
  return time + (milliseconds < most ? milliseconds : most) * 1'000'000;
}

void breakWaits(const char* text) {
  const std::lock_guard<std::mutex> lock(reason().mutex);
  reason().text = text != nullptr ? text : "";
  broken.store(text != nullptr, std::memory_order_release);
}

bool waitsBroken() { return broken.load(std::memory_order_acquire); }

std::string brokenReason() {
  const std::lock_guard<std::mutex> lock(reason().mutex);
  return reason().text;
}

}  // namespace emu
