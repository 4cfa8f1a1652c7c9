#include <cstdio>
#include <cstring>

#include "cuda/memory.h"
#include "ep/entry.h"
#include "ep/execution.h"

namespace emu::ep {

namespace {

std::shared_ptr<Group> findMaskedGroup(Call& call, ncclEpGroup_t token) {
  if (token == nullptr) call.throws("ep_group is NULL");
  std::shared_ptr<Group> group = findGroup(call, token);
  if (!group->masks) call.invalidUsage("the group was created without enable_mask");
  if (!group->ll.mask) call.throws("an HT group has no mask");
  return group;
}

// Enqueues body(execution).
template <class Body>
void enqueue(Call& call, cudaStream_t stream, WorkKind kind, const std::shared_ptr<Group>& group, Body body) {
  const auto run = [function = call.function(), group, body](WorkContext& context) {
    Execution execution(*group, function, context);
    body(execution);
  };
  const cudaError_t error = submit(stream, {call.function(), kind, run, group->rank});
  if (error != cudaSuccess) call.throws("CUDA error %d", static_cast<int>(error));
}

// `values` may lie at any address: the copy moves bytes.
void setMask(Group& group, const void* values) {
  std::vector<int> mask(static_cast<size_t>(group.ranks));
  std::memcpy(mask.data(), values, mask.size() * sizeof(int));
  for (size_t r = 0; r < mask.size(); ++r) group.ll.mask[r] = mask[r] != 0 ? 1 : 0;
}

// Meets the ranks that this one takes for active. Whoever does not come in time is masked, without an asynchronous
// error. -1, or the rank that was waited for when the waits ended.
int barrier(Group& group, Channel channel) {
  LlState& ll = group.ll;
  if (!ll.active(group.rank)) return -1;
  for (int r = 0; r < group.ranks && !ll.silent; ++r) {
    if (ll.active(r)) group.exchange.post(channel, r, ll.cleans);
  }
  const uint64_t deadline = ll.silent ? 0 : now() + group.timeoutNs;
  for (int r = 0; r < group.ranks; ++r) {
    if (!ll.active(r)) continue;
    const Arrival arrival = group.exchange.awaitValue(channel, r, ll.cleans, deadline);
    if (arrival == Arrival::Here || ll.silent) continue;
    if (arrival == Arrival::Broken) return r;
    std::fprintf(stderr, "nccl4j emulator: ncclEpMaskClean on rank %d: %s did not come in time, masked\n", group.rank,
                 group.exchange.progressOf(r).c_str());
    ll.mask[static_cast<size_t>(r)].store(0, std::memory_order_relaxed);
  }
  return -1;
}

void clean(Group& group, Execution& execution) {
  LlState& ll = group.ll;
  execution.enter(ll.busy, "an LL operation");
  group.exchange.started(Operation::MaskClean);
  ++ll.cleans;
  int missing = barrier(group, Channel::CleanFirst);
  if (missing < 0) {
    group.exchange.clear(Channel::LlBuffer0);
    group.exchange.clear(Channel::LlBuffer1);
    missing = barrier(group, Channel::CleanSecond);
  }
  for (int r = 0; r < group.ranks; ++r) ll.mask[static_cast<size_t>(r)].store(1, std::memory_order_relaxed);
  if (missing >= 0) execution.fail("ended while waiting for %s", group.exchange.progressOf(missing).c_str());
}

void maskQuery(Call& call, ncclEpGroup_t token, int* status, cudaStream_t stream) {
  const auto group = findMaskedGroup(call, token);
  if (status == nullptr) call.throws("mask_status is NULL");
  enqueue(call, stream, WorkKind::Memcpy, group, [group, status](Execution& execution) {
    std::vector<int> mask(static_cast<size_t>(group->ranks));
    execution.bytes("mask_status", status, mask.size() * sizeof(int));
    for (size_t r = 0; r < mask.size(); ++r) mask[r] = group->ll.mask[r];
    std::memcpy(status, mask.data(), mask.size() * sizeof(int));
  });
}

void maskUpdate(Call& call, ncclEpGroup_t token, const int* mask, cudaStream_t stream) {
  const auto group = findMaskedGroup(call, token);
  if (mask == nullptr) call.throws("mask is NULL");
  const size_t bytes = static_cast<size_t>(group->ranks) * sizeof(int);
  memory::Block block;
  if (memory::find(mask, &block)) {  // pinned: read when the copy runs
    return enqueue(call, stream, WorkKind::Memcpy, group, [group, mask, bytes](Execution& execution) {
      execution.bytes("mask", mask, bytes);
      setMask(*group, mask);
    });
  }
  // Pageable: small copies are staged by the call.
  if (!readable(mask, bytes)) call.undefined("mask is no array of %d values", group->ranks);
  std::vector<int> values(static_cast<size_t>(group->ranks));
  std::memcpy(values.data(), mask, bytes);
  enqueue(call, stream, WorkKind::Memcpy, group, [group, values](Execution&) { setMask(*group, values.data()); });
}

void maskClean(Call& call, ncclEpGroup_t token, cudaStream_t stream) {
  const auto group = findMaskedGroup(call, token);
  if (group->ll.bufferBytes == 0) call.throws("the LL buffer is not allocated yet: no handle was made");
  if (isCapturing(stream)) call.throws("the call synchronises, but the stream is capturing");
  enqueue(call, stream, WorkKind::Kernel, group, [group](Execution& execution) { clean(*group, execution); });
  const cudaError_t error = drain(stream);
  if (error != cudaSuccess) call.throws("CUDA error %d", static_cast<int>(error));
}

void getAsyncError(Call& call, ncclEpGroup_t token, int* error) {
  if (token != nullptr && error == nullptr) call.throws("error_out is NULL");
  const auto group = findMaskedGroup(call, token);
  if (!writable(error, sizeof *error)) call.undefined("error_out cannot be written");
  *error = group->ll.asyncError.load(std::memory_order_acquire);
}

void errorClear(Call& call, ncclEpGroup_t token) {
  const auto group = findMaskedGroup(call, token);
  group->ll.asyncError.store(0, std::memory_order_release);
}

}  // namespace

EMU_EP(ncclEpMaskQuery, (ncclEpGroup_t ep_group, int* mask_status, cudaStream_t stream),
       (ep_group, mask_status, stream), maskQuery(call, ep_group, mask_status, stream))

EMU_EP(ncclEpMaskUpdate, (ncclEpGroup_t ep_group, const int* mask, cudaStream_t stream), (ep_group, mask, stream),
       maskUpdate(call, ep_group, mask, stream))

EMU_EP(ncclEpMaskClean, (ncclEpGroup_t ep_group, cudaStream_t stream), (ep_group, stream),
       maskClean(call, ep_group, stream))

EMU_EP(ncclEpGetAsyncError, (ncclEpGroup_t ep_group, int* error_out), (ep_group, error_out),
       getAsyncError(call, ep_group, error_out))

EMU_EP(ncclEpErrorClear, (ncclEpGroup_t ep_group), (ep_group), errorClear(call, ep_group))

}  // namespace emu::ep
