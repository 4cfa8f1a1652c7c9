// Work that is held back until a calling thread has begun to wait for it, so that a test of waits does not depend on time.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "ep_round.h"

namespace ep_test {

class HeldStream {
 public:
  explicit HeldStream(cudaStream_t stream) : before_(nccl_test::usage().host_waits) {
    EXPECT_CUDA(cudaSuccess, cudaLaunchHostFunc(stream, hold, new Open(open_)));
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
  // Outlives this object where nobody can wait for the stream, because its device has failed.
  using Open = std::shared_ptr<std::atomic<bool>>;

  static void hold(void* given) {
    const std::unique_ptr<Open> open(static_cast<Open*>(given));
    while (!**open) std::this_thread::yield();
  }

  uint64_t before_;
  const Open open_ = std::make_shared<std::atomic<bool>>(false);
  std::thread opener_;
};

}  // namespace ep_test
