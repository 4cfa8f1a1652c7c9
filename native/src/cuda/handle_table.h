// Live objects by handle. Handles are numbers that are never given out twice and that point to no memory, so a freed or
// forged handle is found out and never followed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace emu {

// Tag tells the kinds of handles apart. Handle is an opaque pointer type of the CUDA interface.
template <class Handle, class Object, unsigned Tag>
class HandleTable {
 public:
  // make(handle) constructs the object under its new handle.
  template <class Make>
  std::shared_ptr<Object> insert(Make&& make) {
    const std::lock_guard<std::shared_mutex> lock(mutex_);
    const uintptr_t number = (static_cast<uintptr_t>(Tag) << 40) + 64 * ++last_;
    std::shared_ptr<Object> object = make(reinterpret_cast<Handle>(number));
    objects_.emplace(number, object);
    return object;
  }

  std::shared_ptr<Object> find(Handle handle) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
  }

  // Finds and removes; NULL if there is none.
  std::shared_ptr<Object> take(Handle handle) {
    const std::lock_guard<std::shared_mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

  std::vector<std::shared_ptr<Object>> all() const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    std::vector<std::shared_ptr<Object>> result;
    result.reserve(objects_.size());
    for (const auto& entry : objects_) result.push_back(entry.second);
    return result;
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<uintptr_t, std::shared_ptr<Object>> objects_;
  uintptr_t last_ = 0;
};

}  // namespace emu
