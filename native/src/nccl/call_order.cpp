#include "nccl/call_order.h"

namespace emu::nccl {

CallOrder::Ticket CallOrder::nextTicket() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ++given_;
}

template <class Condition>
bool CallOrder::await(Condition&& condition, const std::function<bool()>& cancelled) {
  const auto ready = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return condition();
  };
  return waitUntil(changed_, ready, kNoDeadline, cancelled) == WaitEnd::Ready;
}

bool CallOrder::enter(Ticket ticket, const std::function<bool()>& cancelled) {
  const auto take = [&] {
    if (busy_ || (ticket != kNone && ticket != serving_)) return false;
    busy_ = true;
    return true;
  };
  return await(take, cancelled);
}

void CallOrder::leave(Ticket ticket) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = false;
  }
  drop(ticket);
}

void CallOrder::drop(Ticket ticket) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ticket != kNone) retired_.insert(ticket);
    while (!retired_.empty() && *retired_.begin() == serving_) {
      retired_.erase(retired_.begin());
      ++serving_;
    }
  }
  changed_.notifyAll();
}

bool CallOrder::waitForAll() {
  return await([this] { return !busy_ && serving_ > given_; });
}

bool CallOrder::waitForRunning() {
  return await([this] { return !busy_; });
}

}  // namespace emu::nccl
