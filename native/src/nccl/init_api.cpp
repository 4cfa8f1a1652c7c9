// Making communicators.
#include <vector>

#include "cuda/device.h"
#include "nccl/config.h"
#include "nccl/entry.h"
#include "nccl/make.h"
#include "nccl/rendezvous.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

ncclResult_t publish(ncclUniqueId* out) {
  if (!given(out)) return fail(ncclInvalidArgument, "uniqueId is NULL");
  return failWith(rendezvous::publish(out));
}

ncclResult_t initRank(ncclComm_t* out, int size, const ncclUniqueId& id, int rank, const ncclConfig_t* given) {
  if (!emu::given(out)) return fail(ncclInvalidArgument, "comm is NULL");
  if (size < 1 || rank < 0 || rank >= size) {
    return fail(ncclInvalidArgument, "rank %d of %d ranks does not exist", rank, size);
  }
  if (size > arena::kMaxRanks) {
    return fail(ncclInvalidUsage, "%d ranks: the emulator has at most %d", size, arena::kMaxRanks);
  }
  bool blocking = true;
  EMU_TRY(readConfig(given, &blocking));
  return makeCommunicator(out, id, size, rank, device::current(), blocking);
}

ncclResult_t initAll(ncclComm_t* out, int count, const int* devices) {
  if (!given(out)) return fail(ncclInvalidArgument, "comm is NULL");
  if (count < 1 || count > device::count()) {
    return fail(ncclInvalidArgument, "ncclCommInitAll for %d devices, there are %d", count, device::count());
  }
  if (!room(out, static_cast<size_t>(count))) return fail(ncclInvalidArgument, "comm cannot be written");
  if (devices != nullptr && !given(devices, static_cast<size_t>(count))) {
    return fail(ncclInvalidArgument, "devlist cannot be read");
  }
  std::vector<bool> used(static_cast<size_t>(device::count()));
  for (int i = 0; i < count; ++i) {
    const int chosen = devices != nullptr ? devices[i] : i;
    if (chosen < 0 || chosen >= device::count()) return fail(ncclInvalidArgument, "device %d does not exist", chosen);
    if (used[static_cast<size_t>(chosen)]) return fail(ncclInvalidUsage, "device %d is listed twice", chosen);
    used[static_cast<size_t>(chosen)] = true;
  }
  ncclUniqueId id;
  EMU_TRY(publish(&id));
  group::start();
  for (int i = 0; i < count; ++i) {
    group::note(makeCommunicator(&out[i], id, count, i, devices != nullptr ? devices[i] : i, true));
  }
  return group::end();
}

// All ranks pass the same ids in the same order, and one is enough to meet.
ncclResult_t initRankOfMany(ncclComm_t* out, int size, int rank, int ids, const ncclUniqueId* id, const ncclConfig_t* config) {
  if (ids < 1 || ids > size || !given(id, static_cast<size_t>(ids))) {
    return fail(ncclInvalidArgument, "%d unique ids at %p for %d ranks", ids, static_cast<const void*>(id), size);
  }
  return initRank(out, size, id[0], rank, config);
}

ncclResult_t split(ncclComm_t comm, int color, int key, ncclComm_t* out, const ncclConfig_t* config) {
  Comm parent;
  EMU_TRY(usable(comm, &parent));
  if (!given(out)) return fail(ncclInvalidArgument, "newcomm is NULL");
  if (color < 0 && color != NCCL_SPLIT_NOCOLOR) return fail(ncclInvalidArgument, "color %d is negative", color);
  bool blocking = parent->blocking;
  EMU_TRY(readConfig(config, &blocking));
  return splitCommunicator(parent, color, key, out, blocking);
}

}  // namespace

EMU_API ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId) { return EMU_CALL(entry, (uniqueId), publish(uniqueId)); }

EMU_API ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank) {
  return EMU_CALL(groupedEntry, (comm, nranks, commId, rank), initRank(comm, nranks, commId, rank, nullptr));
}

EMU_API ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank,
                                            ncclConfig_t* config) {
  return EMU_CALL(groupedEntry, (comm, nranks, commId, rank, config), initRank(comm, nranks, commId, rank, config));
}

EMU_API ncclResult_t ncclCommInitRankScalable(ncclComm_t* newcomm, int nranks, int myrank, int nId,
                                              ncclUniqueId* commIds, ncclConfig_t* config) {
  return EMU_CALL(groupedEntry, (newcomm, nranks, myrank, nId, commIds, config),
                  initRankOfMany(newcomm, nranks, myrank, nId, commIds, config));
}

EMU_API ncclResult_t ncclCommInitAll(ncclComm_t* comm, int ndev, const int* devlist) {
  return EMU_CALL(groupedEntry, (comm, ndev, devlist), initAll(comm, ndev, devlist));
}

EMU_API ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config) {
  return EMU_CALL(groupedEntry, (comm, color, key, newcomm, config), split(comm, color, key, newcomm, config));
}

}  // namespace emu::nccl
