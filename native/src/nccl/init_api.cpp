// Making communicators: with a unique id, or out of another communicator.
#include <algorithm>
#include <vector>

#include "cuda/device.h"
#include "cuda/error_names.h"
#include "nccl/config.h"
#include "nccl/entry.h"
#include "nccl/rendezvous.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

// Takes a communicator that never came to be out of the world again.
void discard(const Comm& comm, ncclComm_t* out) {
  if (take(comm.get()) != nullptr) comm->close();
  *out = nullptr;
}

void join(CommState& comm, const ncclUniqueId& id, int size, int rank, const CommState* parent) {
  const auto cancelled = [&] { return comm.aborted() || (parent != nullptr && parent->aborted()); };
  comm.attach(rendezvous::join(id, size, rank, comm.device, cancelled));
  comm.finish({});
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

void meetForSplit(CommState& parent, CommState* child, SplitRequest request) {
  Team& ranks = parent.ranks();
  const size_t size = static_cast<size_t>(ranks.size());
  std::vector<SplitRequest> requests(size);
  TeamResult result = ranks.exchange(Purpose::Split, &request, requests.data(), sizeof request, waitLimit());
  std::vector<int> own;
  SplitReply mine{ncclSuccess, {}};
  std::vector<SplitReply> replies(size);
  if (result == TeamResult::Ok) {
    if (child != nullptr) own = members(requests, request.color);
    if (!own.empty() && own.front() == ranks.rank()) {
      mine.code = static_cast<int32_t>(endOf([&] { rendezvous::publish(&mine.id); }).code);
    }
    result = ranks.exchange(Purpose::Split, &mine, replies.data(), sizeof mine, waitLimit());
  }
  if (result != TeamResult::Ok) throw Failure{resultOf(result), ranks.explain()};
  if (child == nullptr) return;
  const SplitReply& reply = replies[static_cast<size_t>(own.front())];
  if (reply.code != ncclSuccess) {
    fail(static_cast<ncclResult_t>(reply.code), "rank %d could not provide shared memory for the new communicator",
         own.front());
  }
  const auto place = std::find(own.begin(), own.end(), ranks.rank()) - own.begin();
  join(*child, reply.id, static_cast<int>(own.size()), static_cast<int>(place), &parent);
}

// Meets the other ranks, at once or at the end of the group. *out is valid at once, and NULL again if a blocking one
// fails.
ncclResult_t makeCommunicator(ncclComm_t* out, const ncclUniqueId& id, int size, int rank, int device, bool blocking) {
  const cudaError_t sticky = device::sticky(device);
  if (sticky != cudaSuccess) fail(ncclUnhandledCudaError, "device %d has failed with %s", device, errorName(sticky));
  const Comm comm = create(device, blocking);
  *out = comm.get();
  calls::setRank(rank);
  const auto body = [comm, id, size, rank, out] {
    const Failure end = endOf([&] { join(*comm, id, size, rank, nullptr); });
    if (end.code != ncclSuccess && comm->blocking) discard(comm, out);
    check(end);
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
  const auto abandon = [child, out] {
    if (child != nullptr) discard(child, out);
  };
  const auto body = [parent, child, color, key, abandon] {
    const Failure end = endOf([&] { meetForSplit(*parent, child.get(), SplitRequest{color, key}); });
    if (end.code != ncclSuccess && parent->blocking) {
      abandon();
    } else if (child != nullptr) {
      child->finish(end);
    }
    check(end);
  };
  return group::runHostOperation({parent, body, abandon});
}

void publish(ncclUniqueId* out) {
  if (!given(out)) fail(ncclInvalidArgument, "uniqueId is NULL");
  rendezvous::publish(out);
}

ncclResult_t initRank(ncclComm_t* out, int size, const ncclUniqueId& id, int rank, const ncclConfig_t* given) {
  if (!emu::given(out)) fail(ncclInvalidArgument, "comm is NULL");
  if (size < 1 || rank < 0 || rank >= size) fail(ncclInvalidArgument, "rank %d of %d ranks does not exist", rank, size);
  if (size > arena::kMaxRanks) fail(ncclInvalidUsage, "%d ranks: the emulator has at most %d", size, arena::kMaxRanks);
  bool blocking = true;
  readConfig(given, &blocking);
  return makeCommunicator(out, id, size, rank, device::current(), blocking);
}

ncclResult_t initAll(ncclComm_t* out, int count, const int* devices) {
  if (!given(out)) fail(ncclInvalidArgument, "comm is NULL");
  if (count < 1 || count > device::count()) {
    fail(ncclInvalidArgument, "ncclCommInitAll for %d devices, there are %d", count, device::count());
  }
  if (!room(out, static_cast<size_t>(count))) fail(ncclInvalidArgument, "comm cannot be written");
  if (devices != nullptr && !given(devices, static_cast<size_t>(count))) {
    fail(ncclInvalidArgument, "devlist cannot be read");
  }
  std::vector<bool> used(static_cast<size_t>(device::count()));
  for (int i = 0; i < count; ++i) {
    const int chosen = devices != nullptr ? devices[i] : i;
    if (chosen < 0 || chosen >= device::count()) fail(ncclInvalidArgument, "device %d does not exist", chosen);
    if (used[static_cast<size_t>(chosen)]) fail(ncclInvalidUsage, "device %d is listed twice", chosen);
    used[static_cast<size_t>(chosen)] = true;
  }
  ncclUniqueId id;
  publish(&id);
  group::start();
  for (int i = 0; i < count; ++i) {
    const int device = devices != nullptr ? devices[i] : i;
    group::note(answerOf([&] { return makeCommunicator(&out[i], id, count, i, device, true); }));
  }
  return group::end();
}

// All ranks pass the same ids in the same order, and one is enough to meet.
ncclResult_t initRankOfMany(ncclComm_t* out, int size, int rank, int ids, const ncclUniqueId* id, const ncclConfig_t* config) {
  if (ids < 1 || ids > size || !given(id, static_cast<size_t>(ids))) {
    fail(ncclInvalidArgument, "%d unique ids at %p for %d ranks", ids, static_cast<const void*>(id), size);
  }
  return initRank(out, size, id[0], rank, config);
}

ncclResult_t split(ncclComm_t comm, int color, int key, ncclComm_t* out, const ncclConfig_t* config) {
  const Comm parent = usable(comm);
  if (!given(out)) fail(ncclInvalidArgument, "newcomm is NULL");
  if (color < 0 && color != NCCL_SPLIT_NOCOLOR) fail(ncclInvalidArgument, "color %d is negative", color);
  bool blocking = parent->blocking;
  readConfig(config, &blocking);
  return splitCommunicator(parent, color, key, out, blocking);
}

}  // namespace

EMU_NCCL(ncclGetUniqueId, (ncclUniqueId* uniqueId), (uniqueId), publish(uniqueId))

EMU_NCCL_GROUPED(ncclCommInitRank, (ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank),
                 (comm, nranks, commId, rank), initRank(comm, nranks, commId, rank, nullptr))

EMU_NCCL_GROUPED(ncclCommInitRankConfig,
                 (ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t* config),
                 (comm, nranks, commId, rank, config), initRank(comm, nranks, commId, rank, config))

EMU_NCCL_GROUPED(ncclCommInitRankScalable,
                 (ncclComm_t* newcomm, int nranks, int myrank, int nId, ncclUniqueId* commIds, ncclConfig_t* config),
                 (newcomm, nranks, myrank, nId, commIds, config),
                 initRankOfMany(newcomm, nranks, myrank, nId, commIds, config))

EMU_NCCL_GROUPED(ncclCommInitAll, (ncclComm_t* comm, int ndev, const int* devlist), (comm, ndev, devlist),
                 initAll(comm, ndev, devlist))

EMU_NCCL_GROUPED(ncclCommSplit, (ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config),
                 (comm, color, key, newcomm, config), split(comm, color, key, newcomm, config))

}  // namespace emu::nccl
