// How every exported function of the CUDA runtime begins and ends.
#pragma once

#include <exception>
#include <utility>

#include "base/calls.h"
#include "base/host_access.h"
#include "cuda/device.h"
#include "cuda/failure.h"

namespace emu {

// Checks that a function makes before anything else.
enum class Needs {
  Nothing,         // answers always
  NoHostFunction,  // not in a host function
  OwnDevices,      // likewise, and not in a forked child
  Device,          // likewise, and a working device: a sticky error is returned instead
  NoCapture        // likewise, and no capture that forbids potentially unsafe calls
};

void admit(Needs needs);

// Whether the last entry() of this thread succeeded: only then do its outputs mean anything.
inline thread_local bool succeeded = false;

// The handle that a call has made, for its log entry.
template <class Handle>
Handle made(const Handle* out) {
  return out != nullptr && succeeded ? *out : nullptr;
}

// The body of a call that answers with one value.
template <class Value, class Answer>
void answer(Value* out, Answer value) {
  require(given(out));
  *out = value;
}

// The function's body, with its result logged, preset and remembered for cudaGetLastError.
template <Needs needs, class Describe, class Body>
cudaError_t entry(Function& function, Describe&& describe, Body&& body) {
  succeeded = false;
  return device::remember(api<cudaError_t>(function, std::forward<Describe>(describe), [&](Function& call) {
    cudaError_t result = cudaErrorMemoryAllocation;  // of the host: nothing else throws an exception
    try {
      result = resultOf([&] {
        admit(needs);
        return body(call);
      });
    } catch (const std::exception&) {
    }
    succeeded = result == cudaSuccess;
    return result;
  }));
}

// Set while a host function of the program runs on this thread: it must not call CUDA.
class HostFunctionScope {
 public:
  HostFunctionScope() { ++running; }
  ~HostFunctionScope() { --running; }
  HostFunctionScope(const HostFunctionScope&) = delete;
  HostFunctionScope& operator=(const HostFunctionScope&) = delete;

  static inline thread_local int running = 0;
};

}  // namespace emu

#define EMU_CUDA(needs, name, parameters, logged, ...) \
  EMU_FUNCTION(cudaError_t, name, parameters, emu::entry<emu::Needs::needs>, logged, __VA_ARGS__)
