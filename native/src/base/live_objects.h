// Live objects by the handles that programs know them by, so that a freed or forged handle is found out and never
// followed.
#pragma once

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace emu {

template <class Handle, class Object>
class LiveObjects {
 public:
  void add(Handle handle, std::shared_ptr<Object> object) {
    const std::lock_guard<std::shared_mutex> lock(mutex_);
    objects_.emplace(handle, std::move(object));
  }

  // NULL unless the handle's object is live.
  std::shared_ptr<Object> find(Handle handle) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }

  // Finds and removes: only one caller gets the object.
  std::shared_ptr<Object> take(Handle handle) {
    const std::lock_guard<std::shared_mutex> lock(mutex_);
    const auto found = objects_.find(handle);
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
  std::unordered_map<Handle, std::shared_ptr<Object>> objects_;
};

}  // namespace emu
