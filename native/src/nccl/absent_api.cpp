// What NCCL has and the emulator has not: said clearly, never a wrong result.
#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

void absent(const Function& function, ncclComm_t comm) {
  if (comm != nullptr) ready(comm);
  fail(ncclInvalidUsage, "the emulator has no %s", function.name);
}

}  // namespace

EMU_API ncclResult_t ncclCommRevoke(ncclComm_t comm, int revokeFlags) {
  return EMU_CALL(entry, (comm, revokeFlags), absent(call, comm));
}

EMU_API ncclResult_t ncclCommShrink(ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm,
                                    ncclConfig_t*, int shrinkFlags) {
  return EMU_CALL(entry, (comm, excludeRanksList, excludeRanksCount, newcomm, shrinkFlags), absent(call, comm));
}

EMU_API ncclResult_t ncclCommGetUniqueId(ncclComm_t comm, ncclUniqueId* uniqueId) {
  return EMU_CALL(entry, (comm, uniqueId), absent(call, comm));
}

EMU_API ncclResult_t ncclCommGrow(ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank,
                                  ncclComm_t* newcomm, ncclConfig_t*) {
  return EMU_CALL(entry, (comm, nRanks, uniqueId, rank, newcomm), absent(call, comm));
}

EMU_API ncclResult_t ncclPutSignal(const void* localbuff, size_t count, ncclDataType_t, int peer, ncclWindow_t peerWin,
                                   size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
                                   cudaStream_t stream) {
  return EMU_CALL(groupedEntry, (localbuff, count, peer, peerWin, peerWinOffset, sigIdx, ctx, flags, comm, stream),
                  absent(call, comm));
}

EMU_API ncclResult_t ncclSignal(int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
                                cudaStream_t stream) {
  return EMU_CALL(groupedEntry, (peer, sigIdx, ctx, flags, comm, stream), absent(call, comm));
}

EMU_API ncclResult_t ncclWaitSignal(int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm,
                                    cudaStream_t stream) {
  return EMU_CALL(groupedEntry, (nDesc, signalDescs, comm, stream), absent(call, comm));
}

}  // namespace emu::nccl
