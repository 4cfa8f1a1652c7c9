// Ranks that are expected to fail, and what they must tell of it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "nccl_harness.h"

namespace nccl_test {

// A rank whose communicator and device are expected to fail: leaves both clean.
void asFailingRank(const ncclUniqueId& id, int size, int rank, const std::function<void(Rank&)>& body);
// Likewise for all ranks, on threads; nothing may be left of them.
void asFailingThreads(int size, const std::function<void(Rank&)>& body);

ncclResult_t asyncError(const Rank& self);
// Expects the async error, and a text that contains `part`.
void expectAsync(const Rank& self, ncclResult_t expected, const std::string& part);
// The trouble of another rank: told as async error at once, while the work waits for the abort, which leaves the device
// healthy.
void expectRemoteTrouble(Rank& self, const std::string& part);
std::string deviceText(int device);

// Opened once by one thread, passed by others.
class Gate {
 public:
  void open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

}  // namespace nccl_test
