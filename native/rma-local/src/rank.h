// A rank of a connection: what it registers, and its operations, which one thread of the rank carries out in order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda.h"
#include "group.h"

namespace rma_local {

class Context;
class Rank;

// Given to NCCL for memory that a rank registered.
struct Registration {
  Rank& owner;
  std::shared_ptr<Region> region;
};

// A place in the part of a rank.
struct Place {
  std::shared_ptr<Region> region;
  int rank = 0;
  std::uint64_t offset = 0;
};

// Copies, then adds to a signal; either may be left out. With neither it tells that all before it has ended.
struct Operation {
  std::size_t size = 0;
  Place from{};
  Place to{};
  // Where `region` is null, there is no signal.
  Place signal{};
  std::uint64_t add = 0;
};

struct Request {
  Context* context = nullptr;
  Operation operation{};
  bool done = false;
};

class Rank {
 public:
  Rank(std::shared_ptr<Group> group, int self);
  // Ends what is under way.
  ~Rank();
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  int self() const { return self_; }
  int ranks() const { return group_->ranks(); }

  // Both wait: for the others; until nobody uses this rank's part.
  Registration* registerPart(void* base, std::size_t size, bool onDevice);
  void deregister(Registration* registration);

  // Carries it out after all that this rank began before.
  Request* begin(Context& context, Operation operation);
  bool isDone(Request* request);
  bool hasFailed() const { return failed_.load(); }

  // Until all operations of a context have ended, whose requests end with it.
  void end(Context& context);

 private:
  void run();
  void perform(const Operation& operation);
  void copy(const Operation& operation);
  void add(const Operation& operation);
  void read(const Place& from, std::uint64_t at, void* piece, std::size_t size);
  void write(const Place& to, std::uint64_t at, const void* piece, std::size_t size);
  void onThread(const std::function<void(Copies&)>& task);
  void note(const std::string& text);

  const std::shared_ptr<Group> group_;
  const int self_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool closing_ = false;
  std::atomic<bool> failed_{false};
  // Of the thread.
  std::unique_ptr<Copies> copies_;
  std::uint64_t puts_ = 0, bytes_ = 0, signals_ = 0, flushes_ = 0;
  std::thread thread_;
};

// A set of queues. Rank r is reached if it is a multiple of the stride away.
class Context {
 public:
  Context(Rank& of, int queues, int every) : rank(of), count(queues), stride(every) {}

  Rank& rank;
  const int count;
  const int stride;

 private:
  friend class Rank;

  // Guarded by the rank: those not in use, all of them, and the number that the thread has not ended.
  std::vector<Request*> free_;
  std::vector<std::unique_ptr<Request>> all_;
  std::size_t pending_ = 0;
};

}  // namespace rma_local
