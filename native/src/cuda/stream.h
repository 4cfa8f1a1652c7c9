// A stream: a queue of tasks and one worker thread that runs them in order.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "abi/cuda_runtime.h"
#include "base/wait.h"

namespace emu {

class Stream;
struct StreamCapture;

// A place in a stream's queue: reached when the task enqueued there and all before it are done.
struct Point {
  std::shared_ptr<Stream> stream;
  uint64_t sequence = 0;

  bool reached() const;
  void wait() const;
};

// What the worker does for one entry of the queue.
struct Task {
  std::function<void(Stream&)> run;  // not called if the device has failed by then
  std::function<void()> done;        // called in any case, after it
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(cudaStream_t handle, uint64_t id, int device, unsigned flags, int priority);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t handle() const { return handle_; }
  uint64_t id() const { return id_; }
  int device() const { return device_; }
  unsigned flags() const { return flags_; }
  int priority() const { return priority_; }
  bool legacy() const { return handle_ == cudaStreamLegacy; }
  // Synchronises with the legacy default stream.
  bool blocking() const { return (flags_ & cudaStreamNonBlocking) == 0; }

  // Appends a task (an empty one: only the dependencies) that starts when all of `after` are reached, and, by the rules of the
  // legacy default stream, what this stream synchronises with.
  Point enqueue(Task task, std::vector<Point> after = {});
  // The end of the queue as it is now.
  Point tail();
  bool idle() const { return completed_.load(std::memory_order_acquire) == enqueued_.load(std::memory_order_acquire); }
  // Whether the calling thread is a worker of some stream.
  static bool onWorker();
  // No more tasks will come: the worker ends when the queue is empty.
  void close();
  // What has not started yet is passed over: the device is being reset.
  void discard();

  // State of a capture, guarded by graphLock(); the flag may be read without it.
  std::unique_ptr<StreamCapture> capture;
  std::atomic<bool> capturing{false};

 private:
  friend struct Point;
  struct Entry {
    Task task;
    std::vector<Point> after;
  };

  bool startWorker();
  static void* workerMain(void* self);
  void work();
  bool next(Entry* entry);
  void addLegacyDependencies(std::vector<Point>* after);

  const cudaStream_t handle_;
  const uint64_t id_;
  const int device_;
  const unsigned flags_;
  const int priority_;

  std::mutex mutex_;
  std::deque<Entry> queue_;
  bool started_ = false;
  bool closed_ = false;
  std::atomic<bool> discarding_{false};
  std::atomic<uint64_t> enqueued_{0};
  std::atomic<uint64_t> completed_{0};
  EventCount arrived_{};    // the queue or closed_ changed
  EventCount progressed_{}; // completed_ rose
};

}  // namespace emu
