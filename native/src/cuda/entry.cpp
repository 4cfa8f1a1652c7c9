#include "cuda/entry.h"

#include "cuda/capture.h"

namespace emu {

void admit(Needs needs) {
  // Any call fixes the number of devices.
  require(device::count() != 0, cudaErrorNoDevice);
  if (needs == Needs::Nothing) return;
  require(HostFunctionScope::running == 0, cudaErrorNotPermitted);
  if (needs == Needs::NoHostFunction) return;
  require(!device::lostByFork(), cudaErrorInitializationError);
  if (needs == Needs::OwnDevices) return;
  check(device::sticky(device::current()));
  if (needs == Needs::NoCapture) capture::forbidUnsafe();
}

}  // namespace emu
