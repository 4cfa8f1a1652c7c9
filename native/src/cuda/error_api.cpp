// cudaGetLastError and its kin, and the names and texts of errors.
#include "cuda/entry.h"
#include "cuda/error_names.h"

namespace emu {

namespace {

// What answers with text is counted, and not logged.
template <class Describe, class Body>
const char* counted(Function& function, Describe&&, Body&& body) {
  function.calls.fetch_add(1, std::memory_order_relaxed);
  return body(function);
}

}  // namespace

EMU_API cudaError_t cudaGetLastError() { return EMU_CALL(api<cudaError_t>, (), device::takeLastError()); }

EMU_API cudaError_t cudaPeekAtLastError() { return EMU_CALL(api<cudaError_t>, (), device::lastError()); }

EMU_API const char* cudaGetErrorName(cudaError_t error) { return EMU_CALL(counted, (), errorName(error)); }

EMU_API const char* cudaGetErrorString(cudaError_t error) { return EMU_CALL(counted, (), errorText(error)); }

}  // namespace emu
