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

EMU_NCCL(ncclCommRevoke, (ncclComm_t comm, int revokeFlags), (comm, revokeFlags), absent(call, comm))

EMU_NCCL(ncclCommShrink,
         (ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm, ncclConfig_t*,
          int shrinkFlags), (comm, excludeRanksList, excludeRanksCount, newcomm, shrinkFlags), absent(call, comm))

EMU_NCCL(ncclCommGetUniqueId, (ncclComm_t comm, ncclUniqueId* uniqueId), (comm, uniqueId), absent(call, comm))

EMU_NCCL(ncclCommGrow,
         (ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank, ncclComm_t* newcomm, ncclConfig_t*),
         (comm, nRanks, uniqueId, rank, newcomm), absent(call, comm))

EMU_NCCL_GROUPED(ncclPutSignal,
                 (const void* localbuff, size_t count, ncclDataType_t, int peer, ncclWindow_t peerWin,
                  size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream),
                 (localbuff, count, peer, peerWin, peerWinOffset, sigIdx, ctx, flags, comm, stream), absent(call, comm))

EMU_NCCL_GROUPED(ncclSignal, (int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream),
                 (peer, sigIdx, ctx, flags, comm, stream), absent(call, comm))

EMU_NCCL_GROUPED(ncclWaitSignal, (int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm, cudaStream_t stream),
                 (nDesc, signalDescs, comm, stream), absent(call, comm))

}  // namespace emu::nccl
