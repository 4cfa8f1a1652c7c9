// Blocking on a word of (possibly shared) memory: a futex, never a spin, always with an end.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace emu {

// Monotonic nanoseconds.
uint64_t now();

// A futex word to wait on for changes of other state. Whoever changes that state calls notifyAll() afterwards. Lies in
// private or in shared memory; zero-initialised memory is a valid EventCount.
struct EventCount {
  std::atomic<uint32_t> count;
  void notifyAll();
};

enum class WaitEnd {
  Ready,
  Timeout,  // the deadline passed
  Broken    // nccl4jEmuBreakWaits was called, or `cancelled` answered true
};

constexpr uint64_t kNoDeadline = UINT64_MAX;

// Blocks until ready() holds, the deadline (of now()) passes, the process's waits are broken, or cancelled() holds.
// `cancelled` is asked about 20 times a second: for what notifies nobody, such as the death of another process.
WaitEnd waitUntil(EventCount& changed, const std::function<bool()>& ready, uint64_t deadline,
                  const std::function<bool()>& cancelled = nullptr);

// The two halves of a wait: announce, look at the state again, sleep. Returns at the next notification, or early.
uint32_t prepareWait(EventCount& changed);
void commitWait(EventCount& changed, uint32_t prepared);

// Blocks until ready() holds, however long that takes: for waits on work of this process, which ends by itself.
template <class Ready>
void blockUntil(EventCount& changed, Ready&& ready) {
  while (!ready()) {
    const uint32_t prepared = prepareWait(changed);
    if (ready()) return;
    commitWait(changed, prepared);
  }
}

// now() + the option wait_limit_ms: the end of waits that the real library would never end.
uint64_t waitLimit();

void breakWaits(const char* reason);  // NULL = waits work again
bool waitsBroken();
std::string brokenReason();           // empty while waits work

}  // namespace emu
