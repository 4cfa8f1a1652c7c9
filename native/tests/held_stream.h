// Work that is held back until a calling thread has begun to wait for it, so that a test of waits does not depend on time.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>

#include "ep_round.h"

namespace ep_test {

class HeldStream {
 public:
  explicit HeldStream(cudaStream_t stream) : before_(nccl_test::usage().host_waits) {
    EXPECT_CUDA(cudaSuccess, cudaLaunchHostFunc(stream, hold, open_));
  }
  HeldStream(const HeldStream&) = delete;
  HeldStream& operator=(const HeldStream&) = delete;
  ~HeldStream() { open(); }

  // Lets the work go on as soon as somebody waits on the host, or after ten seconds.
  void openAtWait() {
    opener_ = std::thread([this] {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
      while (waits() == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      *open_ = true;
    });
  }

  void open() {
    *open_ = true;
    if (opener_.joinable()) opener_.join();
  }

  uint64_t waits() const { return nccl_test::usage().host_waits - before_; }

 private:
  // Kept for ever: work that a failed device drops, or that nobody can wait for, does not say when it is done.
  static std::atomic<bool>* kept() {
    static std::mutex mutex;
    static std::deque<std::atomic<bool>> all;
    const std::lock_guard<std::mutex> lock(mutex);
    return &all.emplace_back(false);
  }

  static void hold(void* open) {
    while (!*static_cast<std::atomic<bool>*>(open)) std::this_thread::yield();
  }

  uint64_t before_;
  std::atomic<bool>* const open_ = kept();
  std::thread opener_;
};

}  // namespace ep_test
