#include "ep/ll/execution.h"

#include <cstdio>
#include <numeric>

#include "base/options.h"
#include "ep/faults.h"

namespace emu::ep {

LlExecution::~LlExecution() {
  if (entered_) group_.ll.busy.store(false, std::memory_order_release);
}

cudaError_t LlExecution::enter() {
  const char* const function = launch_.function;
  if (const cudaError_t error = checkAlive(group_, context_, function)) return error;
  if (launch_.generation != group_.ll.generation) {
    return context_.fail(cudaErrorIllegalAddress,
                         "%s on rank %d: the LL buffer grew after the call; graphs captured before are void", function,
                         group_.rank);
  }
  if (group_.ll.busy.exchange(true, std::memory_order_acquire)) {
    return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: runs while another LL operation of the group does",
                         function, group_.rank);
  }
  entered_ = true;
  buffer_ = static_cast<int>(group_.ll.epoch & 1);
  return cudaSuccess;
}

cudaError_t LlExecution::startSend() {
  if (const cudaError_t error = enter()) return error;
  LlState& ll = group_.ll;
  if (ll.sendPending) {
    return context_.fail(cudaErrorLaunchFailure,
                         "%s on rank %d: a send half of the group is pending; complete it first", launch_.function,
                         group_.rank);
  }
  group_.exchange.started(launch_.operation);
  ll.pendingFaults = applyFaults(group_.rank);
  if (ll.pendingFaults.silent) ll.silent = true;
  // Every rank started the operation before this one, hence ended the one before that, which used this buffer. Only
  // what a masked or deaf rank never took is still there.
  for (int r = 0; r < group_.ranks; ++r) group_.exchange.retract(channel(), r);
  deadline_ = now() + group_.timeoutNs;
  slowUntil_ = slowUntil(ll.pendingFaults);
  return cudaSuccess;
}

cudaError_t LlExecution::startReceive() {
  if (const cudaError_t error = enter()) return error;
  LlState& ll = group_.ll;
  if (!ll.sendPending) {
    return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: a receive half without its send half",
                         launch_.function, group_.rank);
  }
  deadline_ = now() + group_.timeoutNs;
  slowUntil_ = slowUntil(ll.pendingFaults);
  return cudaSuccess;
}

void LlExecution::finishSend() {
  if (launch_.staged) group_.ll.sendPending = true;
}

void LlExecution::finishReceive() {
  ++group_.ll.epoch;
  group_.ll.sendPending = false;
}

SendBuffer LlExecution::buffer(int rank) const {
  const SendBufferLayout& layout = group_.ll.sendBuffers;
  return SendBuffer(group_.exchange.payload(rank) + static_cast<size_t>(buffer_) * layout.bytes, layout);
}

void LlExecution::postToActive() const {
  if (group_.ll.silent) return;
  const uint32_t* const first = mine().first();
  for (int r = 0; r < group_.ranks; ++r) {
    if (!group_.ll.active(r)) continue;
    group_.exchange.post(channel(), r, static_cast<uint64_t>(launch_.operation) << 32 | (first[r + 1] - first[r]));
  }
}

cudaError_t LlExecution::receive(int source, bool* present, uint32_t* count) {
  LlState& ll = group_.ll;
  *present = false;
  *count = 0;
  if (!ll.active(source)) return cudaSuccess;
  uint64_t value = 0;
  // A silent rank waits for nobody: the others do not know that it is there.
  const uint64_t deadline = ll.silent ? 0 : deadline_;
  Arrival arrival = awaitLink(group_, source, slowUntil_, deadline);
  if (arrival == Arrival::Here) {
    arrival = group_.exchange.receive(channel(), source, deadline, (ll.pendingFaults.deaf >> source & 1) != 0, &value);
  }
  if (arrival == Arrival::Here) {
    if (value >> 32 != static_cast<uint64_t>(launch_.operation)) {
      release(source);
      return context_.fail(cudaErrorLaunchFailure,
                           "%s on rank %d meets %s of rank %d: the ranks run different sequences", launch_.function,
                           group_.rank, nameOf(static_cast<Operation>(value >> 32 & 0xff)), source);
    }
    *present = true;
    *count = static_cast<uint32_t>(value);
    return cudaSuccess;
  }
  if (arrival == Arrival::Broken) {
    return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: ended while waiting for %s", launch_.function,
                         group_.rank, group_.exchange.progressOf(source).c_str());
  }
  if (ll.silent) return cudaSuccess;
  const std::string who = group_.exchange.progressOf(source);
  if (!ll.mask) {
    return context_.fail(cudaErrorLaunchFailure, "%s on rank %d: nothing from %s within %llu ms", launch_.function,
                         group_.rank, who.c_str(), static_cast<unsigned long long>(group_.timeoutNs / 1'000'000));
  }
  std::fprintf(stderr, "nccl4j emulator: %s on rank %d: nothing from %s in time, masked\n", launch_.function,
               group_.rank, who.c_str());
  ll.mask[static_cast<size_t>(source)].store(0, std::memory_order_relaxed);
  ll.asyncError.store(1, std::memory_order_release);
  return cudaSuccess;
}

void LlExecution::release(int source) const { group_.exchange.release(channel(), source); }

const std::vector<int32_t>& LlExecution::sourceOrder() {
  shuffled(&group_.ll.sources, static_cast<size_t>(group_.ranks), 0);
  return group_.ll.sources;
}

void LlExecution::shuffled(std::vector<int32_t>* order, size_t n, uint64_t salt) const {
  order->resize(n);
  std::iota(order->begin(), order->end(), 0);
  const uint64_t seed = options::shuffleSeed();
  if (seed == 0) return;
  Shuffle shuffle(seed ^ (group_.ll.epoch << 20) ^ (static_cast<uint64_t>(group_.rank) << 8) ^ (salt << 44));
  for (size_t i = n; i > 1; --i) std::swap((*order)[i - 1], (*order)[shuffle.below(i)]);
}

}  // namespace emu::ep
