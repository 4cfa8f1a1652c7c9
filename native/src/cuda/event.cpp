#include "cuda/event.h"

#include <algorithm>

#include "cuda/handle_table.h"

namespace emu {

namespace {

constexpr unsigned kTag = 0x52;
using Table = HandleTable<cudaEvent_t, Event, kTag>;

Table& table() {
  static Table& instance = *new Table;
  return instance;
}

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

namespace events {

std::shared_ptr<Event> create(int device, unsigned flags) {
  return table().insert([&](cudaEvent_t handle) { return std::make_shared<Event>(handle, device, flags); });
}

std::shared_ptr<Event> find(cudaEvent_t handle) { return table().find(handle); }

std::shared_ptr<Event> take(cudaEvent_t handle) { return table().take(handle); }

void destroyAll(int device) {
  for (const std::shared_ptr<Event>& event : table().all()) {
    if (event->device() == device) table().take(event->handle());
  }
}

size_t count(int device) {
  const auto all = table().all();
  return static_cast<size_t>(std::count_if(all.begin(), all.end(), [&](const auto& event) {
    return device < 0 || event->device() == device;
  }));
}

}  // namespace events
}  // namespace emu
