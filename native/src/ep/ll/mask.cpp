#include <cstdio>
#include <cstring>

#include "cuda/memory.h"
#include "ep/address_check.h"
#include "ep/operations.h"

namespace emu::ep {

namespace {

ncclResult_t findMaskedGroup(Call& call, ncclEpGroup_t token, std::shared_ptr<Group>* group) {
  if (token == nullptr) return call.throws("ep_group is NULL");
  if (auto failure = findGroup(call, token, group)) return failure;
  if (!(*group)->masks) return call.invalidUsage("the group was created without enable_mask");
  if (!(*group)->ll.mask) return call.throws("an HT group has no mask");
  return ncclSuccess;
}

// Enqueues the body, which needs a group that still lives.
template <class Body>
ncclResult_t enqueue(Call& call, cudaStream_t stream, WorkKind kind, const std::shared_ptr<Group>& group, Body body) {
  const auto run = [function = call.function(), group, body](WorkContext& context) {
    if (const cudaError_t error = checkAlive(*group, context, function)) return error;
    return body(context);
  };
  const cudaError_t error = submit(stream, {call.function(), kind, run, group->rank});
  return error == cudaSuccess ? ncclSuccess : call.throws("CUDA error %d", static_cast<int>(error));
}

// `values` may lie at any address: the copy moves bytes.
void setMask(Group& group, const void* values) {
  std::vector<int> mask(static_cast<size_t>(group.ranks));
  std::memcpy(mask.data(), values, mask.size() * sizeof(int));
  for (size_t r = 0; r < mask.size(); ++r) group.ll.mask[r] = mask[r] != 0 ? 1 : 0;
}

// Meets the ranks that this one takes for active. Whoever does not come in time is masked, without an asynchronous
// error.
cudaError_t barrier(Group& group, WorkContext& context, Channel channel) {
  LlState& ll = group.ll;
  if (!ll.active(group.rank)) return cudaSuccess;
  for (int r = 0; r < group.ranks && !ll.silent; ++r) {
    if (ll.active(r)) group.exchange.post(channel, r, ll.cleans);
  }
  const uint64_t deadline = ll.silent ? 0 : now() + group.timeoutNs;
  for (int r = 0; r < group.ranks; ++r) {
    if (!ll.active(r)) continue;
    const Arrival arrival = group.exchange.awaitValue(channel, r, ll.cleans, deadline);
    if (arrival == Arrival::Here || ll.silent) continue;
    const std::string who = group.exchange.progressOf(r);
    if (arrival == Arrival::Broken) {
      return context.fail(cudaErrorLaunchFailure, "ncclEpMaskClean on rank %d: ended while waiting for %s", group.rank,
                          who.c_str());
    }
    std::fprintf(stderr, "nccl4j emulator: ncclEpMaskClean on rank %d: %s did not come in time, masked\n", group.rank,
                 who.c_str());
    ll.mask[static_cast<size_t>(r)].store(0, std::memory_order_relaxed);
  }
  return cudaSuccess;
}

cudaError_t clean(Group& group, WorkContext& context) {
  LlState& ll = group.ll;
  if (ll.busy.exchange(true, std::memory_order_acquire)) {
    return context.fail(cudaErrorLaunchFailure,
                        "ncclEpMaskClean on rank %d: runs while an LL operation of the group does", group.rank);
  }
  group.exchange.started(Operation::MaskClean);
  ++ll.cleans;
  cudaError_t error = barrier(group, context, Channel::CleanFirst);
  if (error == cudaSuccess) {
    group.exchange.clear(Channel::LlBuffer0);
    group.exchange.clear(Channel::LlBuffer1);
    error = barrier(group, context, Channel::CleanSecond);
  }
  for (int r = 0; r < group.ranks; ++r) ll.mask[static_cast<size_t>(r)].store(1, std::memory_order_relaxed);
  ll.busy.store(false, std::memory_order_release);
  return error;
}

}  // namespace

ncclResult_t maskQuery(Call& call, ncclEpGroup_t token, int* status, cudaStream_t stream) {
  std::shared_ptr<Group> group;
  if (auto failure = findMaskedGroup(call, token, &group)) return failure;
  if (status == nullptr) return call.throws("mask_status is NULL");
  return enqueue(call, stream, WorkKind::Memcpy, group, [group, status](WorkContext& context) {
    std::vector<int> mask(static_cast<size_t>(group->ranks));
    AddressCheck check(context, "ncclEpMaskQuery", group->rank);
    check.bytes("mask_status", status, mask.size() * sizeof(int));
    if (check.error() != cudaSuccess) return check.error();
    for (size_t r = 0; r < mask.size(); ++r) mask[r] = group->ll.mask[r];
    std::memcpy(status, mask.data(), mask.size() * sizeof(int));
    return cudaSuccess;
  });
}

ncclResult_t maskUpdate(Call& call, ncclEpGroup_t token, const int* mask, cudaStream_t stream) {
  std::shared_ptr<Group> group;
  if (auto failure = findMaskedGroup(call, token, &group)) return failure;
  if (mask == nullptr) return call.throws("mask is NULL");
  const size_t bytes = static_cast<size_t>(group->ranks) * sizeof(int);
  memory::Block block;
  if (memory::find(mask, &block)) {  // pinned: read when the copy runs
    return enqueue(call, stream, WorkKind::Memcpy, group, [group, mask, bytes](WorkContext& context) {
      AddressCheck check(context, "ncclEpMaskUpdate", group->rank);
      check.bytes("mask", mask, bytes);
      if (check.error() == cudaSuccess) setMask(*group, mask);
      return check.error();
    });
  }
  // Pageable: small copies are staged by the call.
  if (!readable(mask, bytes)) return call.undefined("mask is no array of %d values", group->ranks);
  std::vector<int> values(static_cast<size_t>(group->ranks));
  std::memcpy(values.data(), mask, bytes);
  return enqueue(call, stream, WorkKind::Memcpy, group, [group, values](WorkContext&) {
    setMask(*group, values.data());
    return cudaSuccess;
  });
}

ncclResult_t maskClean(Call& call, ncclEpGroup_t token, cudaStream_t stream) {
  std::shared_ptr<Group> group;
  if (auto failure = findMaskedGroup(call, token, &group)) return failure;
  if (group->ll.bufferBytes == 0) return call.throws("the LL buffer is not allocated yet: no handle was made");
  if (isCapturing(stream)) return call.throws("the call synchronises, but the stream is capturing");
  const auto run = [group](WorkContext& context) { return clean(*group, context); };
  if (auto failure = enqueue(call, stream, WorkKind::Kernel, group, run)) return failure;
  const cudaError_t error = drain(stream);
  return error == cudaSuccess ? ncclSuccess : call.throws("CUDA error %d", static_cast<int>(error));
}

ncclResult_t getAsyncError(Call& call, ncclEpGroup_t token, int* error) {
  if (token != nullptr && error == nullptr) return call.throws("error_out is NULL");
  std::shared_ptr<Group> group;
  if (auto failure = findMaskedGroup(call, token, &group)) return failure;
  if (!writable(error, sizeof *error)) return call.undefined("error_out cannot be written");
  *error = group->ll.asyncError.load(std::memory_order_acquire);
  return ncclSuccess;
}

ncclResult_t errorClear(Call& call, ncclEpGroup_t token) {
  std::shared_ptr<Group> group;
  if (auto failure = findMaskedGroup(call, token, &group)) return failure;
  group->ll.asyncError.store(0, std::memory_order_release);
  return ncclSuccess;
}

}  // namespace emu::ep
