// Groups of calls.
#include "base/host_access.h"
#include "nccl/entry.h"
#include "nccl/group.h"

using namespace emu;

EMU_API ncclResult_t ncclGroupStart(void) {
  static Function function("ncclGroupStart");
  return nccl::entry(
      function, [](Arguments&) {}, [] { return nccl::group::start(); });
}

EMU_API ncclResult_t ncclGroupEnd(void) {
  static Function function("ncclGroupEnd");
  return nccl::entry(
      function, [](Arguments&) {}, [] { return nccl::group::end(); });
}

// There is no model of a GPU's time here, so the estimate is the value that means unknown.
EMU_API ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* simInfo) {
  static Function function("ncclGroupSimulateEnd");
  return nccl::entry(
      function, [&](Arguments& a) { a.pointer("simInfo", simInfo); },
      [&] {
        const ncclResult_t result = nccl::group::discard();
        if (simInfo == nullptr || result != ncclSuccess) return result;
        if (!given(simInfo)) return nccl::fail(ncclInvalidArgument, "simInfo cannot be written");
        if (simInfo->magic != NCCL_SIM_INFO_MAGIC || simInfo->size < sizeof(ncclSimInfo_t)) {
          return nccl::fail(ncclInvalidArgument, "simInfo was not set up with NCCL_SIM_INFO_INITIALIZER");
        }
        simInfo->estimatedTime = NCCL_UNDEF_FLOAT;
        return ncclSuccess;
      });
}
