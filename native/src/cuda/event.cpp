#include "cuda/event.h"

namespace emu {

void Event::record(Stream& stream) {
  auto time = std::make_shared<std::atomic<uint64_t>>(0);
  const std::lock_guard<std::mutex> lock(mutex_);
  last_.point = stream.enqueue({nullptr, [time] { time->store(now(), std::memory_order_release); }});
  last_.time = std::move(time);
}

void Event::recordNow() {
  const std::lock_guard<std::mutex> lock(mutex_);
  last_.point = Point{};
  last_.time = std::make_shared<std::atomic<uint64_t>>(now());
}

Recording Event::last() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_;
}

}  // namespace emu
