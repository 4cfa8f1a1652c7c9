// cudaGetLastError and its kin, and the names and texts of errors.
#include "base/export.h"
#include "cuda/entry.h"
#include "cuda/error_names.h"

namespace emu {

EMU_API cudaError_t cudaGetLastError() {
  static Function function("cudaGetLastError");
  return api<cudaError_t>(function, [](Arguments&) {}, [] { return device::takeLastError(); });
}

EMU_API cudaError_t cudaPeekAtLastError() {
  static Function function("cudaPeekAtLastError");
  return api<cudaError_t>(function, [](Arguments&) {}, [] { return device::lastError(); });
}

EMU_API const char* cudaGetErrorName(cudaError_t error) {
  static Function function("cudaGetErrorName");
  function.calls.fetch_add(1, std::memory_order_relaxed);
  return errorName(error);
}

EMU_API const char* cudaGetErrorString(cudaError_t error) {
  static Function function("cudaGetErrorString");
  function.calls.fetch_add(1, std::memory_order_relaxed);
  return errorText(error);
}

}  // namespace emu
