#include "nccl/turnstile.h"

namespace emu::nccl {

Turnstile::Ticket Turnstile::draw() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ++drawn_;
}

bool Turnstile::enter(Ticket ticket, const std::function<bool()>& cancelled) {
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

void Turnstile::leave(Ticket ticket) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = false;
    if (ticket != kNone) pass(ticket);
  }
  changed_.ring();
}

void Turnstile::drop(Ticket ticket) {
  if (ticket == kNone) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pass(ticket);
  }
  changed_.ring();
}

void Turnstile::pass(Ticket ticket) {
  passed_.insert(ticket);
  while (!passed_.empty() && *passed_.begin() == serving_) {
    passed_.erase(passed_.begin());
    ++serving_;
  }
}

bool Turnstile::drain() {
  const auto quiet = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !busy_ && serving_ > drawn_;
  };
  return waitUntil(changed_, quiet, kNoDeadline) == WaitEnd::Ready;
}

bool Turnstile::pause() {
  const auto quiet = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !busy_;
  };
  return waitUntil(changed_, quiet, kNoDeadline) == WaitEnd::Ready;
}

}  // namespace emu::nccl
