#include "rank.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "report.h"

namespace rma_local {

using abi::Result;

Rank::Rank(std::shared_ptr<Group> group, int self)
    : group_(std::move(group)), self_(self), thread_([this] { run(); }) {}

Rank::~Rank() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  thread_.join();
  if (logLevel() > 0) {
    print("rank %d of %d: %llu puts and gets of %llu bytes, %llu signals, %llu flushes", self_, ranks(),
          static_cast<unsigned long long>(puts_), static_cast<unsigned long long>(bytes_),
          static_cast<unsigned long long>(signals_), static_cast<unsigned long long>(flushes_));
  }
}

void Rank::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (queue_.empty()) break;
    const std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
  lock.unlock();
  copies_.reset();
}

void Rank::onThread(const std::function<void(Copies&)>& task) {
  bool done = false;
  std::exception_ptr failure;
  std::unique_lock<std::mutex> lock(mutex_);
  queue_.emplace_back([&] {
    try {
      if (copies_ == nullptr) copies_ = std::make_unique<Copies>();
      task(*copies_);
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard<std::mutex> inner(mutex_);
    done = true;
    changed_.notify_all();
  });
  changed_.notify_all();
  changed_.wait(lock, [&] { return done; });
  if (failure != nullptr) std::rethrow_exception(failure);
}

Registration* Rank::registerPart(void* base, std::size_t size, bool onDevice) {
  int device = -1;
  try {
    if (onDevice) {
      onThread([&](Copies& copies) {
        device = deviceOf(base);
        copies.prepare(device, base, size);
      });
    }
    const std::shared_ptr<Region> region = group_->registerPart(self_, base, size, device);
    // The others' devices are prepared here, as this is the last time that anything but a copy may be asked for.
    onThread([&](Copies& copies) {
      for (int rank = 0; rank < ranks(); rank++) {
        Region::Part& part = region->part(rank);
        const std::shared_lock<std::shared_mutex> lock(part.use);
        if (part.device >= 0) copies.prepare(part.device, part.base, part.size);
      }
    });
    return new Registration{*this, region};
  } catch (const Error& e) {
    group_->fail(self_, e.what());
    throw;
  }
}

void Rank::deregister(Registration* registration) {
  Region::Part& part = registration->region->part(self_);
  {
    const std::unique_lock<std::shared_mutex> lock(part.use);
    part.base = nullptr;
  }
  delete registration;
}

Request* Rank::begin(Context& context, Operation operation) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (context.free_.empty()) {
    context.all_.push_back(std::make_unique<Request>());
    context.free_.push_back(context.all_.back().get());
  }
  Request* request = context.free_.back();
  context.free_.pop_back();
  request->context = &context;
  request->operation = std::move(operation);
  request->done = false;
  context.pending_++;
  queue_.emplace_back([this, request] {
    // Nothing after an error: a signal would tell of bytes that are not there.
    if (!failed_.load()) {
      try {
        perform(request->operation);
      } catch (const Error& e) {
        failed_.store(true);
        note(e.what());
      }
    }
    const std::lock_guard<std::mutex> inner(mutex_);
    request->operation = Operation{};
    request->done = true;
    request->context->pending_--;
    changed_.notify_all();
  });
  changed_.notify_all();
  return request;
}

bool Rank::isDone(Request* request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!request->done) return false;
  request->context->free_.push_back(request);
  return true;
}

void Rank::end(Context& context) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return context.pending_ == 0; });
}

void Rank::note(const std::string& text) {
  print("rank %d of %d: %s; it does nothing more", self_, ranks(), text.c_str());
}

void Rank::perform(const Operation& operation) {
  if (copies_ == nullptr) copies_ = std::make_unique<Copies>();
  if (logLevel() > 1) {
    print("rank %d: %zu bytes from %d+%llu to %d+%llu, signal %d+%llu by %llu", self_, operation.size,
          operation.from.rank, static_cast<unsigned long long>(operation.from.offset), operation.to.rank,
          static_cast<unsigned long long>(operation.to.offset),
          operation.signal.region == nullptr ? -1 : operation.signal.rank,
          static_cast<unsigned long long>(operation.signal.offset), static_cast<unsigned long long>(operation.add));
  }
  if (operation.size > 0) copy(operation);
  if (operation.signal.region != nullptr) add(operation);
  if (operation.size == 0 && operation.signal.region == nullptr) flushes_++;
}

// Through pinned memory, by the copy engines: between two places of one device CUDA may copy with a kernel, which finds
// no room where kernels of NCCL EP wait for it.
void Rank::copy(const Operation& operation) {
  std::vector<char> small;
  void* piece = copies_->piece();
  std::size_t most = Copies::pieceBytes;
  if (piece == nullptr) {
    // From host to host, before any device.
    small.resize(std::min<std::size_t>(operation.size, 4096));
    piece = small.data();
    most = small.size();
  }
  for (std::uint64_t at = 0; at < operation.size; at += most) {
    const std::size_t size = std::min<std::size_t>(most, operation.size - at);
    read(operation.from, at, piece, size);
    write(operation.to, at, piece, size);
  }
  puts_++;
  bytes_ += operation.size;
}

void Rank::add(const Operation& operation) {
  const std::lock_guard<std::mutex> lock(operation.signal.region->signals);
  std::uint64_t local = 0;
  std::uint64_t* value = copies_->piece() == nullptr ? &local : static_cast<std::uint64_t*>(copies_->piece());
  read(operation.signal, 0, value, sizeof *value);
  *value += operation.add;
  write(operation.signal, 0, value, sizeof *value);
  signals_++;
}

namespace {

char* inPart(Region::Part& part, const Place& place, std::uint64_t at) {
  if (part.base == nullptr) {
    fail(Result::InvalidUsage, "memory of rank %d has been deregistered before an operation on it ended", place.rank);
  }
  return part.base + place.offset + at;
}

}  // namespace

void Rank::read(const Place& from, std::uint64_t at, void* piece, std::size_t size) {
  Region::Part& part = from.region->part(from.rank);
  const std::shared_lock<std::shared_mutex> lock(part.use);
  const char* memory = inPart(part, from, at);
  if (part.device < 0) std::memcpy(piece, memory, size);
  else copies_->read(part.device, piece, memory, size);
}

void Rank::write(const Place& to, std::uint64_t at, const void* piece, std::size_t size) {
  Region::Part& part = to.region->part(to.rank);
  const std::shared_lock<std::shared_mutex> lock(part.use);
  char* memory = inPart(part, to, at);
  if (part.device < 0) std::memcpy(memory, piece, size);
  else copies_->write(part.device, memory, piece, size);
}

}  // namespace rma_local
