#include "cuda/entry.h"

#include "cuda/capture.h"

namespace emu {

namespace {

thread_local int hostFunctions = 0;

}  // namespace

cudaError_t admit(Needs needs) {
  if (needs == Needs::Nothing) return cudaSuccess;
  if (hostFunctions > 0) return cudaErrorNotPermitted;
  if (needs == Needs::NoHostFunction) return cudaSuccess;
  const cudaError_t sticky = device::sticky(device::current());
  if (sticky != cudaSuccess) return sticky;
  return needs == Needs::NoCapture ? capture::forbidUnsafe() : cudaSuccess;
}

HostFunctionScope::HostFunctionScope() { ++hostFunctions; }

HostFunctionScope::~HostFunctionScope() { --hostFunctions; }

}  // namespace emu
