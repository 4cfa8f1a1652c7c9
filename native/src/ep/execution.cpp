#include "ep/execution.h"

#include <algorithm>
#include <cstdio>

#include "base/misuse.h"
#include "base/text.h"
#include "base/wait.h"

namespace emu::ep {

Execution::Execution(Group& group, const char* function, WorkContext& context)
    : group_(group), function_(function), context_(context) {
  if (group.destroyed) fail(cudaErrorIllegalAddress, "the group was destroyed");
}

void Execution::failWith(cudaError_t error, const char* text) const {
  context_.fail(error, "%s on rank %d: %s", function_, group_.rank, text);
}

void Execution::fail(cudaError_t error, const char* format, ...) const {
  EMU_TEXT(text, format);
  failWith(error, text);
}

void Execution::fail(const char* format, ...) const {
  EMU_TEXT(text, format);
  failWith(cudaErrorLaunchFailure, text);
}

void Execution::undefined(const char* format, ...) const {
  EMU_TEXT(text, format);
  misuse(End::Undefined, group_.rank, function_, "%s", text);
  failWith(cudaErrorLaunchFailure, text);
}

void Execution::failBetween(int other, const char* whose, const char* differ) const {
  context_.fail(cudaErrorLaunchFailure, "%s: %sranks %d and %d %s", function_, whose, group_.rank, other, differ);
}

void Execution::check(const char* tensor, const void* address, size_t bytes, size_t alignment) const {
  if (bytes == 0) return;
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0) {
    fail(cudaErrorMisalignedAddress, "%s: address %p is no multiple of %zu bytes", tensor, address, alignment);
  }
  char what[128];
  std::snprintf(what, sizeof what, "%s on rank %d: %s", function_, group_.rank, tensor);
  context_.touch(what, address, bytes);
}

void Execution::enter(std::atomic<bool>& busy, const char* other) {
  if (busy.exchange(true, std::memory_order_acquire)) fail("runs while %s of the group does", other);
  busy_ = &busy;
}

void Execution::leave() {
  for (int source = 0; source < group_.ranks; ++source) {
    if (present(static_cast<size_t>(source))) release(source);
  }
  if (busy_ != nullptr) busy_->store(false, std::memory_order_release);
  busy_ = nullptr;
}

void Execution::release(int source) {
  group_.exchange.release(channel_, source);
  open_ &= ~(uint64_t{1} << source);
}

faults::Operation Execution::takeFaults() const {
  const faults::Operation met = faults::onOperation(group_.rank);
  if (met.delayMs > 0) {
    EventCount never{};
    waitUntil(never, [] { return false; }, now() + met.delayMs * 1'000'000);
  }
  return met;
}

void Execution::applyFaults(const faults::Operation& met) {
  deaf_ = met.deaf;
  slowUntil_ = met.linkDelayMs == 0 ? 0 : now() + met.linkDelayMs * 1'000'000;
}

// Sits out a slow link to the source. Here, unless the deadline comes first or the waits end.
Arrival Execution::awaitLink(int source, uint64_t deadline) const {
  if (slowUntil_ == 0 || group_.topology.teamOf(source) == group_.topology.teamOf(group_.rank)) return Arrival::Here;
  EventCount never{};
  const auto cancelled = [this] { return group_.team->aborted(); };
  const uint64_t until = deadline == kNoDeadline ? slowUntil_ : std::min(slowUntil_, deadline);
  if (waitUntil(never, [] { return false; }, until, cancelled) == WaitEnd::Broken) return Arrival::Broken;
  return until == slowUntil_ ? Arrival::Here : Arrival::Late;
}

Arrival Execution::await(int source, uint64_t deadline, uint64_t* value) {
  Arrival arrival = awaitLink(source, deadline);
  if (arrival == Arrival::Here) {
    arrival = group_.exchange.receive(channel_, source, deadline, (deaf_ >> source & 1) != 0, value);
  }
  if (arrival == Arrival::Here) open_ |= uint64_t{1} << source;
  return arrival;
}

}  // namespace emu::ep
