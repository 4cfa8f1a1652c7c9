#include "cuda/entry.h"

#include "base/try.h"
#include "cuda/capture.h"

namespace emu {

namespace {

thread_local int hostFunctions = 0;

}  // namespace

cudaError_t admit(Needs needs) {
  // Any call fixes the number of devices.
  if (device::count() == 0) return cudaErrorNoDevice;
  if (needs == Needs::Nothing) return cudaSuccess;
  if (hostFunctions > 0) return cudaErrorNotPermitted;
  if (needs == Needs::NoHostFunction) return cudaSuccess;
  if (device::lostByFork()) return cudaErrorInitializationError;
  if (needs == Needs::OwnDevices) return cudaSuccess;
  EMU_TRY(device::sticky(device::current()));
  return needs == Needs::NoCapture ? capture::forbidUnsafe() : cudaSuccess;
}

HostFunctionScope::HostFunctionScope() { ++hostFunctions; }

HostFunctionScope::~HostFunctionScope() { --hostFunctions; }

}  // namespace emu
