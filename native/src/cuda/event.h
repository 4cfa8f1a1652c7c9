// Events: where a stream was when they were last recorded, and when it got there.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "abi/cuda_runtime.h"
#include "cuda/handle_table.h"
#include "cuda/stream.h"

namespace emu {

struct Capture;
struct GraphNode;

// One recording of an event.
struct Recording {
  Point point;
  std::shared_ptr<std::atomic<uint64_t>> time;  // when the work before it was done; 0 = not yet
};

class Event {
 public:
  Event(cudaEvent_t handle, int device, unsigned flags) : handle_(handle), device_(device), flags_(flags) {}

  cudaEvent_t handle() const { return handle_; }
  int device() const { return device_; }
  bool timed() const { return (flags_ & cudaEventDisableTiming) == 0; }

  // Recorded at the end of the stream's queue.
  void record(Stream& stream) {
    auto time = std::make_shared<std::atomic<uint64_t>>(0);
    const std::lock_guard<std::mutex> lock(mutex_);
    last_.point = stream.enqueue({nullptr, [time] { time->store(now(), std::memory_order_release); }});
    last_.time = std::move(time);
  }

  // Recorded by the work that runs now, as a node of a graph does.
  void recordNow() {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_ = Recording{{}, std::make_shared<std::atomic<uint64_t>>(now())};
  }

  // The last recording; its stream is NULL if the event was never recorded.
  Recording last() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return last_;
  }

  // Where in a capture it was recorded last, guarded by graphLock(); NULL if the last recording was an eager one.
  std::shared_ptr<Capture> captured;
  std::vector<GraphNode*> capturedNodes;

 private:
  const cudaEvent_t handle_;
  const int device_;
  const unsigned flags_;
  mutable std::mutex mutex_;
  Recording last_;
};

using EventTable = HandleTable<cudaEvent_t, Event, 0x52>;
inline EventTable& events() { return neverDestroyed<EventTable>(); }

}  // namespace emu
