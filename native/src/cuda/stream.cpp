#include "cuda/stream.h"

#include <pthread.h>
#include <signal.h>

#include <cstdio>

#include "base/thread.h"
#include "cuda/capture.h"
#include "cuda/device.h"
#include "cuda/streams.h"

namespace emu {

namespace {

thread_local bool isWorker = false;

}  // namespace

bool Point::reached() const {
  return stream == nullptr || stream->completed_.load(std::memory_order_acquire) >= sequence;
}

void Point::wait() const {
  if (stream != nullptr) blockUntil(stream->progressed_, [this] { return reached(); });
}

Stream::Stream(cudaStream_t handle, uint64_t id, int device, unsigned flags, int priority)
    : handle_(handle), id_(id), device_(device), flags_(flags), priority_(priority) {}

Stream::~Stream() = default;

bool Stream::onWorker() { return isWorker; }

Point Stream::enqueue(Task task, std::vector<Point> after) {
  addLegacyDependencies(&after);
  uint64_t sequence = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    sequence = enqueued_.load(std::memory_order_relaxed) + 1;
    queue_.push_back(Entry{std::move(task), std::move(after)});
    enqueued_.store(sequence, std::memory_order_release);
    if (!started_ && !startWorker()) {
      queue_.clear();
      completed_.store(sequence, std::memory_order_release);
      device::raise(device_, cudaErrorOperatingSystem, "no thread could be made for a stream");
    }
  }
  arrived_.notifyAll();
  return Point{shared_from_this(), sequence};
}

Point Stream::tail() { return Point{shared_from_this(), enqueued_.load(std::memory_order_acquire)}; }

// Reads how far the others have got before this stream's own entry is visible, so that entries only ever depend on
// earlier ones and no two can wait for each other.
void Stream::addLegacyDependencies(std::vector<Point>* after) {
  if (!blocking()) return;
  if (!legacy()) {
    const std::shared_ptr<Stream> first = streams::legacyIfUsed(device_);
    if (first != nullptr && !first->idle()) after->push_back(first->tail());
    return;
  }
  for (const std::shared_ptr<Stream>& other : streams::ofDevice(device_)) {
    if (other.get() != this && other->blocking() && !other->idle()) after->push_back(other->tail());
  }
}

void Stream::close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    if (!started_) streams::workerEnded(*this);
  }
  arrived_.notifyAll();
}

void Stream::discard() { discarding_.store(true, std::memory_order_release); }

bool Stream::startWorker() {
  // The worker owns the stream until it ends. Signals are for the program's own threads.
  auto* self = new std::shared_ptr<Stream>(shared_from_this());
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  for (const int fatal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, fatal);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int failed = pthread_create(&thread, nullptr, &Stream::workerMain, self);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed != 0) {
    delete self;
    return false;
  }
  pthread_detach(thread);
  started_ = true;
  return true;
}

void* Stream::workerMain(void* argument) {
  const std::unique_ptr<std::shared_ptr<Stream>> self(static_cast<std::shared_ptr<Stream>*>(argument));
  Stream& stream = **self;
  char name[16];
  const auto id = static_cast<unsigned long long>(stream.id_ % 1'000'000);
  std::snprintf(name, sizeof name, "cuda%d/%llu", stream.device_, id);
  pthread_setname_np(pthread_self(), name);
  thread::setDevice(stream.device_);
  isWorker = true;
  stream.work();
  streams::workerEnded(stream);
  return nullptr;
}

bool Stream::next(Entry* entry) {
  bool ended = false;
  blockUntil(arrived_, [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (queue_.empty()) {
      ended = closed_;
      return ended;
    }
    *entry = std::move(queue_.front());
    queue_.pop_front();
    return true;
  });
  return !ended;
}

void Stream::work() {
  Entry entry;
  while (next(&entry)) {
    for (const Point& point : entry.after) point.wait();
    const bool runs = !discarding_.load(std::memory_order_acquire) && device::sticky(device_) == cudaSuccess;
    if (runs && entry.task.run) entry.task.run(*this);
    if (entry.task.done) entry.task.done();
    // What the task held is given up before anybody learns that it is done.
    entry = Entry{};
    completed_.fetch_add(1, std::memory_order_acq_rel);
    progressed_.notifyAll();
  }
}

}  // namespace emu
