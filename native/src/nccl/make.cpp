#include "nccl/make.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/calls.h"
#include "cuda/device.h"
#include "cuda/error_names.h"
#include "nccl/errors.h"
#include "nccl/group.h"
#include "nccl/rendezvous.h"

namespace emu::nccl {

namespace {

// Takes a communicator that never came to be out of the world again.
void discard(const Comm& comm, ncclComm_t* out) {
  if (take(comm.get()) != nullptr) comm->close();
  *out = nullptr;
}

Failure join(CommState& comm, const ncclUniqueId& id, int size, int rank, const CommState* parent) {
  Failure refusal;
  std::shared_ptr<SharedTeam> ranks = rendezvous::join(
      id, size, rank, comm.device, [&] { return comm.aborted() || (parent != nullptr && parent->aborted()); }, &refusal);
  if (ranks == nullptr) return refusal;
  comm.attach(std::move(ranks));
  comm.finish({});
  return {};
}

// What every rank says at a split, and what the first rank of each new communicator adds.
struct SplitRequest {
  int32_t color;
  int32_t key;
};

struct SplitReply {
  int32_t code;
  ncclUniqueId id;
};

// Old ranks of this rank's new communicator, in their new order.
std::vector<int> members(const std::vector<SplitRequest>& requests, int color) {
  std::vector<int> ranks;
  for (size_t rank = 0; rank < requests.size(); ++rank) {
    if (requests[rank].color == color) ranks.push_back(static_cast<int>(rank));
  }
  std::stable_sort(ranks.begin(), ranks.end(), [&](int a, int b) {
    return requests[static_cast<size_t>(a)].key < requests[static_cast<size_t>(b)].key;
  });
  return ranks;
}

Failure meetForSplit(CommState& parent, CommState* child, SplitRequest request) {
  SharedTeam& ranks = parent.ranks();
  const size_t size = static_cast<size_t>(ranks.size());
  std::vector<SplitRequest> requests(size);
  TeamResult result = ranks.exchange(Purpose::Split, &request, requests.data(), sizeof request, waitLimit());
  std::vector<int> own;
  SplitReply mine{ncclSuccess, {}};
  std::vector<SplitReply> replies(size);
  if (result == TeamResult::Ok) {
    if (child != nullptr) own = members(requests, request.color);
    if (!own.empty() && own.front() == ranks.rank()) {
      mine.code = static_cast<int32_t>(rendezvous::publish(&mine.id).code);
    }
    result = ranks.exchange(Purpose::Split, &mine, replies.data(), sizeof mine, waitLimit());
  }
  if (result != TeamResult::Ok) return {resultOf(result), ranks.explain()};
  if (child == nullptr) return {};
  const SplitReply& reply = replies[static_cast<size_t>(own.front())];
  if (reply.code != ncclSuccess) {
    return {static_cast<ncclResult_t>(reply.code),
            "rank " + std::to_string(own.front()) + " could not provide shared memory for the new communicator"};
  }
  const auto place = std::find(own.begin(), own.end(), ranks.rank()) - own.begin();
  return join(*child, reply.id, static_cast<int>(own.size()), static_cast<int>(place), &parent);
}

}  // namespace

ncclResult_t makeCommunicator(ncclComm_t* out, const ncclUniqueId& id, int size, int rank, int device, bool blocking) {
  const cudaError_t sticky = device::sticky(device);
  if (sticky != cudaSuccess) {
    return fail(ncclUnhandledCudaError, "device %d has failed with %s", device, errorName(sticky));
  }
  const Comm comm = create(device, blocking);
  *out = comm.get();
  calls::setRank(rank);
  const auto body = [comm, id, size, rank, out] {
    Failure end = join(*comm, id, size, rank, nullptr);
    if (end.code != ncclSuccess && comm->blocking) discard(comm, out);
    return end;
  };
  return group::runHostOperation({comm, body, [comm, out] { discard(comm, out); }});
}

ncclResult_t splitCommunicator(const Comm& parent, int color, int key, ncclComm_t* out, bool blocking) {
  Comm child;
  *out = nullptr;
  if (color != NCCL_SPLIT_NOCOLOR) {
    child = create(parent->device, blocking);
    *out = child.get();
  }
  const auto body = [parent, child, color, key, out] {
    Failure end = meetForSplit(*parent, child.get(), SplitRequest{color, key});
    if (child == nullptr) return end;
    if (end.code == ncclSuccess || !parent->blocking) {
      child->finish(end);
    } else {
      discard(child, out);
    }
    return end;
  };
  const auto abandon = [child, out] {
    if (child != nullptr) discard(child, out);
  };
  return group::runHostOperation({parent, body, abandon});
}

}  // namespace emu::nccl
