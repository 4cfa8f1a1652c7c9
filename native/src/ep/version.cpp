// The generation of NCCL EP that is played, as the library tells it.
#include <cstdio>

#include "base/options.h"
#include "ep/entry.h"
#include "ep/environment.h"

namespace emu::ep {

namespace {

__attribute__((constructor)) void printBanner() {
  if (!environment::flag("NCCL_EP_DEBUG")) return;
  const int version = options::epVersion();
  std::fprintf(stderr, "nccl4j emulator: NCCL EP %d.%d.%d\n", version / 10000, version / 100 % 100, version % 100);
}

void getVersion(Call& call, int* version) {
  if (version == nullptr) call.invalidArgument("version is NULL");
  if (!given(version)) call.undefined("version cannot be written");
  *version = options::epVersion();
}

}  // namespace

EMU_EP(ncclEpGetVersion, (int* version), (version), getVersion(call, version))

}  // namespace emu::ep
