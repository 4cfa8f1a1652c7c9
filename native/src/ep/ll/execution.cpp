#include "ep/ll/execution.h"

#include <cstdio>
#include <numeric>

#include "base/options.h"
#include "ep/shuffle.h"

namespace emu::ep {

void LlExecution::enter() {
  if (launch_.generation != group_.ll.generation) {
    fail(cudaErrorIllegalAddress, "the LL buffer grew after the call; graphs captured before are void");
  }
  Execution::enter(group_.ll.busy, "another LL operation");
  channel_ = (group_.ll.epoch & 1) == 0 ? Channel::LlBuffer0 : Channel::LlBuffer1;
}

void LlExecution::startSend() {
  enter();
  LlState& ll = group_.ll;
  if (ll.sendPending) fail("a send half of the group is pending; complete it first");
  group_.exchange.started(launch_.operation);
  ll.pendingFaults = takeFaults();
  if (ll.pendingFaults.silent) ll.silent = true;
  // Every rank started the operation before this one, hence ended the one before that, which used this buffer. Only
  // what a masked or deaf rank never took is still there.
  for (int r = 0; r < group_.ranks; ++r) group_.exchange.retract(channel_, r);
  deadline_ = now() + group_.timeoutNs;
  applyFaults(ll.pendingFaults);
}

void LlExecution::startReceive() {
  enter();
  if (!group_.ll.sendPending) fail("a receive half without its send half");
  deadline_ = now() + group_.timeoutNs;
  applyFaults(group_.ll.pendingFaults);
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
  const size_t at = channel_ == Channel::LlBuffer0 ? 0 : layout.bytes;
  return SendBuffer(group_.exchange.payload(rank) + at, layout);
}

void LlExecution::postToActive() const {
  if (group_.ll.silent) return;
  const uint32_t* const first = mine().first();
  for (int r = 0; r < group_.ranks; ++r) {
    if (!group_.ll.active(r)) continue;
    group_.exchange.post(channel_, r, static_cast<uint64_t>(launch_.operation) << 32 | (first[r + 1] - first[r]));
  }
}

std::optional<uint32_t> LlExecution::receive(int source) {
  LlState& ll = group_.ll;
  if (!ll.active(source)) return std::nullopt;
  uint64_t value = 0;
  // A silent rank waits for nobody: the others do not know that it is there.
  const Arrival arrival = await(source, ll.silent ? 0 : deadline_, &value);
  if (arrival == Arrival::Here) {
    if (value >> 32 == static_cast<uint64_t>(launch_.operation)) return static_cast<uint32_t>(value);
    fail("meets %s of rank %d: the ranks run different sequences", nameOf(static_cast<Operation>(value >> 32 & 0xff)),
         source);
  }
  const std::string who = group_.exchange.progressOf(source);
  if (arrival == Arrival::Broken) fail("ended while waiting for %s", who.c_str());
  if (ll.silent) return std::nullopt;
  if (!ll.mask) {
    fail("nothing from %s within %llu ms", who.c_str(), static_cast<unsigned long long>(group_.timeoutNs / 1'000'000));
  }
  std::fprintf(stderr, "nccl4j emulator: %s on rank %d: nothing from %s in time, masked\n", launch_.function,
               group_.rank, who.c_str());
  ll.mask[static_cast<size_t>(source)].store(0, std::memory_order_relaxed);
  ll.asyncError.store(1, std::memory_order_release);
  return std::nullopt;
}

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
