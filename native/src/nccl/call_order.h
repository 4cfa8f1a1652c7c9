// Lets the device work of one rank of a communicator run one at a time: eager work in the order of the calls, whatever
// the streams; replayed work whenever it comes.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <set>

#include "base/wait.h"

namespace emu::nccl {

class CallOrder {
 public:
  using Ticket = uint64_t;
  static constexpr Ticket kNone = 0;  // of replayed work

  Ticket nextTicket();
  // Blocks until it is the ticket's turn: what comes before ends by itself. False if cancelled() or waits were
  // broken.
  bool enter(Ticket ticket, const std::function<bool()>& cancelled);
  void leave(Ticket ticket);  // after enter
  void drop(Ticket ticket);   // its work will never enter

  // Blocks until all eager work has run and no other runs; until no work runs. False if waits were broken.
  bool waitForAll();
  bool waitForRunning();

 private:
  // Blocks until the condition holds under the lock.
  template <class Condition>
  bool await(Condition&& condition, const std::function<bool()>& cancelled = nullptr);

  std::mutex mutex_;
  Ticket given_ = 0;
  Ticket serving_ = 1;      // the lowest ticket that has neither left nor been dropped
  std::set<Ticket> retired_;  // above serving_
  bool busy_ = false;
  EventCount changed_{};
};

}  // namespace emu::nccl
