#include "cuda/event.h"

namespace emu {

namespace {

class RecordTask final : public Task {
 public:
  explicit RecordTask(std::shared_ptr<std::atomic<uint64_t>> time) : time_(std::move(time)) {}

  void run(Stream&) override {}
  void done() override { time_->store(now(), std::memory_order_release); }

 private:
  const std::shared_ptr<std::atomic<uint64_t>> time_;
};

}  // namespace

void Event::record(Stream& stream) {
  auto time = std::make_shared<std::atomic<uint64_t>>(0);
  const std::lock_guard<std::mutex> lock(mutex_);
  last_.point = stream.enqueue(std::make_unique<RecordTask>(time));
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
