#include "cuda/entry.h"

#include "cuda/capture.h"

namespace emu {

cudaError_t admit(Needs needs) {
  // Any call fixes the number of devices.
  if (device::count() == 0) return cudaErrorNoDevice;
  if (needs == Needs::Nothing) return cudaSuccess;
  if (HostFunctionScope::running > 0) return cudaErrorNotPermitted;
  if (needs == Needs::NoHostFunction) return cudaSuccess;
  if (device::lostByFork()) return cudaErrorInitializationError;
  if (needs == Needs::OwnDevices) return cudaSuccess;
  EMU_TRY(device::sticky(device::current()));
  return needs == Needs::NoCapture ? capture::forbidUnsafe() : cudaSuccess;
}

}  // namespace emu
