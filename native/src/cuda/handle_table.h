// Live objects of the CUDA runtime. Their handles are numbers that are never given out twice and point to no memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/live_objects.h"
#include "base/never_destroyed.h"
#include "cuda/failure.h"

namespace emu {

// Tag tells the kinds of handles apart. Handle is an opaque pointer type of the CUDA interface.
template <class Handle, class Object, unsigned Tag>
class HandleTable : public LiveObjects<Handle, Object> {
 public:
  // make(handle) constructs the object under its new handle.
  template <class Make>
  std::shared_ptr<Object> insert(Make&& make) {
    const auto handle = reinterpret_cast<Handle>((static_cast<uintptr_t>(Tag) << 40) + 64 * ++last_);
    std::shared_ptr<Object> object = make(handle);
    this->add(handle, object);
    return object;
  }

  // The object behind the handle; fails if there is none.
  std::shared_ptr<Object> get(Handle handle, cudaError_t unknown = cudaErrorInvalidValue) const {
    std::shared_ptr<Object> object = this->find(handle);
    require(object != nullptr, unknown);
    return object;
  }

  // ---- of objects that belong to devices ----

  size_t count(int device) const {  // -1 = of all devices
    const auto all = this->all();
    return static_cast<size_t>(std::count_if(all.begin(), all.end(), [&](const auto& object) {
      return device < 0 || object->device() == device;
    }));
  }

  void removeOf(int device) {
    for (const std::shared_ptr<Object>& object : this->all()) {
      if (object->device() == device) this->take(object->handle());
    }
  }

 private:
  std::atomic<uintptr_t> last_{0};
};

}  // namespace emu
