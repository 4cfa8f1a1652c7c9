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
void discard(const std::shared_ptr<CommState>& comm, ncclComm_t* out) {
  if (take(comm.get()) != nullptr) comm->close();
  *out = nullptr;
}

ncclResult_t join(CommState& comm, const ncclUniqueId& id, int size, int rank, const CommState* parent, std::string* text) {
  rendezvous::Refusal refusal;
  std::shared_ptr<SharedTeam> ranks = rendezvous::join(
      id, size, rank, comm.device, [&] { return comm.aborted() || (parent != nullptr && parent->aborted()); }, &refusal);
  if (ranks == nullptr) {
    *text = refusal.text;
    return refusal.code;
  }
  comm.attach(std::move(ranks));
  comm.finish(ncclSuccess, "");
  return ncclSuccess;
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

ncclResult_t meetForSplit(CommState& parent, CommState* child, SplitRequest request, std::string* text) {
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
      const rendezvous::Refusal refusal = rendezvous::publish(&mine.id);
      mine.code = static_cast<int32_t>(refusal.code);
    }
    result = ranks.exchange(Purpose::Split, &mine, replies.data(), sizeof mine, waitLimit());
  }
  if (result != TeamResult::Ok) {
    *text = ranks.explain();
    return resultOf(result);
  }
  if (child == nullptr) return ncclSuccess;
  const SplitReply& reply = replies[static_cast<size_t>(own.front())];
  if (reply.code != ncclSuccess) {
    *text = "rank " + std::to_string(own.front()) + " could not provide shared memory for the new communicator";
    return static_cast<ncclResult_t>(reply.code);
  }
  const auto place = std::find(own.begin(), own.end(), ranks.rank()) - own.begin();
  return join(*child, reply.id, static_cast<int>(own.size()), static_cast<int>(place), &parent, text);
}

}  // namespace

ncclResult_t makeCommunicator(ncclComm_t* out, const ncclUniqueId& id, int size, int rank, int device,
                              const Config& config) {
  const cudaError_t sticky = device::sticky(device);
  if (sticky != cudaSuccess) {
    return fail(ncclUnhandledCudaError, "device %d has failed with %s", device, errorName(sticky));
  }
  const std::shared_ptr<CommState> comm = create(device, config);
  *out = comm.get();
  calls::setRank(rank);
  group::HostOperation hostOperation;
  hostOperation.comm = comm;
  hostOperation.body = [comm, id, size, rank, out](std::string* text) {
    const ncclResult_t result = join(*comm, id, size, rank, nullptr, text);
    if (result != ncclSuccess && comm->blocking) discard(comm, out);
    return result;
  };
  hostOperation.abandon = [comm, out] { discard(comm, out); };
  return group::runHostOperation(std::move(hostOperation));
}

ncclResult_t splitCommunicator(const std::shared_ptr<CommState>& parent, int color, int key, ncclComm_t* out,
                               const Config& config) {
  std::shared_ptr<CommState> child;
  *out = nullptr;
  if (color != NCCL_SPLIT_NOCOLOR) {
    child = create(parent->device, config);
    *out = child.get();
  }
  group::HostOperation hostOperation;
  hostOperation.comm = parent;
  hostOperation.body = [parent, child, color, key, out](std::string* text) {
    const ncclResult_t result = meetForSplit(*parent, child.get(), SplitRequest{color, key}, text);
    if (child == nullptr) return result;
    if (result == ncclSuccess || !parent->blocking) {
      child->finish(result, *text);
    } else {
      discard(child, out);
    }
    return result;
  };
  hostOperation.abandon = [child, out] {
    if (child != nullptr) discard(child, out);
  };
  return group::runHostOperation(std::move(hostOperation));
}

}  // namespace emu::nccl
