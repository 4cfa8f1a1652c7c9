#include "cuda/device.h"

#include <pthread.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "base/thread.h"

namespace emu::device {

namespace {

struct State {
  std::atomic<int> sticky{cudaSuccess};
  std::mutex mutex;
  std::string text;
  std::atomic<uint64_t> peers{0};  // bit p: may touch memory of device p
};

State& state(int device) { return perDevice<State>(device); }

uint64_t bit(int device) { return uint64_t{1} << device; }

thread_local cudaError_t last = cudaSuccess;
std::atomic<uint64_t> waits{0};

std::atomic<bool> used{false};
std::atomic<bool> lost{false};

}  // namespace

int count() { return options::devices(); }

bool exists(int device) { return device >= 0 && device < count(); }

int current() { return thread::device(); }

cudaError_t setCurrent(int device) {
  if (!exists(device)) return cudaErrorInvalidDevice;
  thread::setDevice(device);
  return cudaSuccess;
}

void raise(int device, cudaError_t error, const std::string& text) {
  State& of = state(device);
  const std::lock_guard<std::mutex> lock(of.mutex);
  if (of.sticky.load(std::memory_order_relaxed) != cudaSuccess) return;
  of.text = text;
  of.sticky.store(error, std::memory_order_release);
}

cudaError_t sticky(int device) { return static_cast<cudaError_t>(state(device).sticky.load(std::memory_order_acquire)); }

std::string stickyText(int device) {
  State& of = state(device);
  const std::lock_guard<std::mutex> lock(of.mutex);
  return of.text;
}

void clearSticky(int device) {
  State& of = state(device);
  const std::lock_guard<std::mutex> lock(of.mutex);
  of.text.clear();
  of.sticky.store(cudaSuccess, std::memory_order_release);
}

bool peerEnabled(int device, int peer) { return (state(device).peers.load(std::memory_order_relaxed) & bit(peer)) != 0; }

bool enablePeer(int device, int peer) {
  return (state(device).peers.fetch_or(bit(peer), std::memory_order_relaxed) & bit(peer)) == 0;
}

void forgetPeers(int device) { state(device).peers.store(0, std::memory_order_relaxed); }

cudaError_t remember(cudaError_t error) {
  // A query that finds unfinished work has not failed.
  if (error != cudaSuccess && error != cudaErrorNotReady) last = error;
  return error;
}

cudaError_t lastError() { return last; }

cudaError_t takeLastError() { return std::exchange(last, cudaSuccess); }

bool lostByFork() {
  if (used.load(std::memory_order_relaxed)) return lost.load(std::memory_order_relaxed);
  static const int registered = pthread_atfork(nullptr, nullptr, [] { lost.store(true, std::memory_order_relaxed); });
  used.store(registered == 0, std::memory_order_relaxed);
  return false;
}

void countHostWait() { waits.fetch_add(1, std::memory_order_relaxed); }

uint64_t hostWaits() { return waits.load(std::memory_order_relaxed); }

}  // namespace emu::device
