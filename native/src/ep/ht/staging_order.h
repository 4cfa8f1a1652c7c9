// The order in which HT operations that share a group's staging were put on streams.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

namespace emu::ep {

// Over several LSA teams dispatch and combine of all handles use one staging buffer. One that begins while an earlier
// one is not done is ordered after it by nothing: on a device they may overwrite each other's rows, or not.
class StagingOrder {
 public:
  // Now on a stream. Of work that is dropped, with the operation, nothing stays.
  void issue(const void* operation, std::weak_ptr<const void> alive, const char* function) {
    const std::lock_guard<std::mutex> lock(mutex_);
    issued_.push_back(Issued{operation, std::move(alive), function});
  }

  // The operation begins: the function of an earlier one that is not done, or NULL.
  const char* begin(const void* operation) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto dropped = [](const Issued& other) { return other.alive.expired(); };
    issued_.erase(std::remove_if(issued_.begin(), issued_.end(), dropped), issued_.end());
    return issued_.empty() || issued_.front().operation == operation ? nullptr : issued_.front().function;
  }

  // It is done, or has failed.
  void end(const void* operation) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = std::find_if(issued_.begin(), issued_.end(),
                                   [operation](const Issued& issued) { return issued.operation == operation; });
    if (found != issued_.end()) issued_.erase(found);
  }

 private:
  struct Issued {
    const void* operation;
    std::weak_ptr<const void> alive;
    const char* function;
  };

  std::mutex mutex_;
  std::vector<Issued> issued_;
};

}  // namespace emu::ep
