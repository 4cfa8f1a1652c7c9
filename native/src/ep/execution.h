// An operation of a group while it runs: how it checks addresses, meets the other ranks, and fails.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/faults.h"
#include "cuda/work.h"
#include "ep/group.h"

namespace emu::ep {

class Execution {
 public:
  // Fails if the group was destroyed.
  Execution(Group& group, const char* function, WorkContext& context);
  ~Execution() { leave(); }
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  // ---- failures: they end the work with a text that begins with function and rank ----

  [[noreturn]] void fail(cudaError_t error, const char* format, ...) const __attribute__((format(printf, 3, 4)));
  // With cudaErrorLaunchFailure.
  [[noreturn]] void fail(const char* format, ...) const __attribute__((format(printf, 2, 3)));
  // "<whose>ranks 1 and 3 <differ>".
  [[noreturn]] void failBetween(int other, const char* whose, const char* differ) const;
  // What is undefined in the real library and found only now: ends the process as misuse does, or fails the work.
  [[noreturn]] void undefined(const char* format, ...) const __attribute__((format(printf, 2, 3)));

  // ---- addresses: every tensor before it is read or written ----

  // Kernels move rows 16 bytes at a time.
  void rows(const char* tensor, const void* address, size_t bytes) const { check(tensor, address, bytes, kPacket); }
  // Weights, ids and counters are read and written one by one.
  template <class Element>
  void elements(const char* tensor, const Element* address, size_t count) const {
    check(tensor, address, count * sizeof(Element), sizeof(Element));
  }
  void elements(const char* tensor, const void* address, size_t count, size_t elementBytes) const {
    check(tensor, address, count * elementBytes, elementBytes);
  }
  // Memory that is copied, or whose alignment was checked at the call.
  void bytes(const char* tensor, const void* address, size_t bytes) const { check(tensor, address, bytes, 1); }

  // ---- the other ranks ----

  // Fails if another operation of those that share `busy` runs; `other` says which.
  void enter(std::atomic<bool>& busy, const char* other);
  // Whether the message of a source came and is open.
  bool present(size_t source) const { return (open_ >> source & 1) != 0; }
  // The data of a source may be overwritten from now on.
  void release(int source);

 protected:
  // Counts one operation of the rank for injected faults, and sits out its delay.
  faults::Operation takeFaults() const;
  // What applies to the operation from now on.
  void applyFaults(const faults::Operation& met);
  // Waits for the message of a source, and keeps it open.
  Arrival await(int source, uint64_t deadline, uint64_t* value);
  // Empties the mailboxes of the messages that are open; other operations may run.
  void leave();

  Group& group_;
  const char* const function_;
  WorkContext& context_;
  Channel channel_ = Channel::LlBuffer0;

 private:
  static constexpr size_t kPacket = 16;

  [[noreturn]] void failWith(cudaError_t error, const char* text) const;
  void check(const char* tensor, const void* address, size_t bytes, size_t alignment) const;
  Arrival awaitLink(int source, uint64_t deadline) const;

  std::atomic<bool>* busy_ = nullptr;
  uint64_t open_ = 0;
  uint64_t deaf_ = 0;
  uint64_t slowUntil_ = 0;  // before that nothing of other teams arrives; 0 = links are not slow
};

}  // namespace emu::ep
