#include "nccl/call_order.h"

namespace emu::nccl {

CallOrder::Ticket CallOrder::nextTicket() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ++given_;
}

bool CallOrder::enter(Ticket ticket, const std::function<bool()>& cancelled) {
  return waitUntil(
             changed_,
             [&] {
               const std::lock_guard<std::mutex> lock(mutex_);
               if (busy_ || (ticket != kNone && ticket != serving_)) return false;
               busy_ = true;
               return true;
             },
             kNoDeadline, cancelled) == WaitEnd::Ready;
}

void CallOrder::leave(Ticket ticket) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = false;
    if (ticket != kNone) retire(ticket);
  }
  changed_.notifyAll();
}

void CallOrder::drop(Ticket ticket) {
  if (ticket == kNone) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    retire(ticket);
  }
  changed_.notifyAll();
}

void CallOrder::retire(Ticket ticket) {
  retired_.insert(ticket);
  while (!retired_.empty() && *retired_.begin() == serving_) {
    retired_.erase(retired_.begin());
    ++serving_;
  }
}

bool CallOrder::waitForAll() {
  const auto quiet = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !busy_ && serving_ > given_;
  };
  return waitUntil(changed_, quiet, kNoDeadline) == WaitEnd::Ready;
}

bool CallOrder::waitForRunning() {
  const auto quiet = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !busy_;
  };
  return waitUntil(changed_, quiet, kNoDeadline) == WaitEnd::Ready;
}

}  // namespace emu::nccl
