// What NCCL has and the emulator has not: said clearly, never a wrong result.
#include "nccl/entry.h"
#include "nccl/state.h"

using namespace emu;

namespace {

ncclResult_t absent(const Function& function, ncclComm_t comm) {
  ncclResult_t why = ncclSuccess;
  if (comm != nullptr && nccl::ready(comm, &why) == nullptr) return why;
  return nccl::fail(ncclInvalidUsage, "the emulator has no %s", function.name);
}

}  // namespace

EMU_API ncclResult_t ncclCommRevoke(ncclComm_t comm, int revokeFlags) {
  static Function function("ncclCommRevoke");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.number("revokeFlags", revokeFlags);
      },
      [&] { return absent(function, comm); });
}

EMU_API ncclResult_t ncclCommShrink(ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm,
                                    ncclConfig_t*, int shrinkFlags) {
  static Function function("ncclCommShrink");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("excludeRanksList", excludeRanksList);
        a.number("excludeRanksCount", excludeRanksCount);
        a.pointer("newcomm", newcomm);
        a.number("shrinkFlags", shrinkFlags);
      },
      [&] { return absent(function, comm); });
}

EMU_API ncclResult_t ncclCommGetUniqueId(ncclComm_t comm, ncclUniqueId* uniqueId) {
  static Function function("ncclCommGetUniqueId");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.pointer("uniqueId", uniqueId);
      },
      [&] { return absent(function, comm); });
}

EMU_API ncclResult_t ncclCommGrow(ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank, ncclComm_t* newcomm,
                                  ncclConfig_t*) {
  static Function function("ncclCommGrow");
  return nccl::entry(
      function,
      [&](Arguments& a) {
        a.pointer("comm", comm);
        a.number("nRanks", nRanks);
        a.pointer("uniqueId", uniqueId);
        a.number("rank", rank);
        a.pointer("newcomm", newcomm);
      },
      [&] { return absent(function, comm); });
}

EMU_API ncclResult_t ncclPutSignal(const void* localbuff, size_t count, ncclDataType_t, int peer, ncclWindow_t peerWin,
                                   size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
                                   cudaStream_t stream) {
  static Function function("ncclPutSignal");
  return nccl::groupedEntry(
      function,
      [&](Arguments& a) {
        a.pointer("localbuff", localbuff);
        a.number("count", static_cast<int64_t>(count));
        a.number("peer", peer);
        a.pointer("peerWin", peerWin);
        a.number("peerWinOffset", static_cast<int64_t>(peerWinOffset));
        a.number("sigIdx", sigIdx);
        a.number("ctx", ctx);
        a.number("flags", flags);
        a.pointer("comm", comm);
        a.pointer("stream", stream);
      },
      [&] { return absent(function, comm); });
}

EMU_API ncclResult_t ncclSignal(int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream) {
  static Function function("ncclSignal");
  return nccl::groupedEntry(
      function,
      [&](Arguments& a) {
        a.number("peer", peer);
        a.number("sigIdx", sigIdx);
        a.number("ctx", ctx);
        a.number("flags", flags);
        a.pointer("comm", comm);
        a.pointer("stream", stream);
      },
      [&] { return absent(function, comm); });
}

EMU_API ncclResult_t ncclWaitSignal(int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm, cudaStream_t stream) {
  static Function function("ncclWaitSignal");
  return nccl::groupedEntry(
      function,
      [&](Arguments& a) {
        a.number("nDesc", nDesc);
        a.pointer("signalDescs", signalDescs);
        a.pointer("comm", comm);
        a.pointer("stream", stream);
      },
      [&] { return absent(function, comm); });
}
