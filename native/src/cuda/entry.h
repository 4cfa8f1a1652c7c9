// How every exported function of the CUDA runtime begins and ends.
#pragma once

#include <utility>

#include "base/calls.h"
#include "cuda/device.h"

namespace emu {

// Checks that a function makes before anything else.
enum class Needs {
  Nothing,         // answers also on a failed device and in a host function
  NoHostFunction,  // answers also on a failed device
  Device,          // a working device: a sticky error is returned instead
  NoCapture        // likewise, and no capture that forbids potentially unsafe calls
};

cudaError_t admit(Needs needs);

// The function's body, with its result logged, preset and remembered for cudaGetLastError.
template <class Describe, class Body>
cudaError_t entry(Function& function, Needs needs, Describe&& describe, Body&& body) {
  return device::remember(api<cudaError_t>(function, std::forward<Describe>(describe), [&]() -> cudaError_t {
    const cudaError_t admitted = admit(needs);
    return admitted == cudaSuccess ? body() : admitted;
  }));
}

// Set while a host function of the program runs on this thread: it must not call CUDA.
class HostFunctionScope {
 public:
  HostFunctionScope();
  ~HostFunctionScope();
  HostFunctionScope(const HostFunctionScope&) = delete;
  HostFunctionScope& operator=(const HostFunctionScope&) = delete;
};

}  // namespace emu
