#include "cuda/error_names.h"

#include <algorithm>
#include <iterator>

#include "cuda/entry.h"

namespace emu {

namespace {

struct Entry {
  cudaError_t error;
  const char* name;
  const char* text;
};

// In ascending order of the numbers.
constexpr Entry kEntries[] = {
#define CUDA_ERROR(name, number, text) {name, #name, text},
#include "abi/cuda_errors.h"
#undef CUDA_ERROR
};

constexpr Entry kUnknown = {cudaErrorUnknown, "unrecognized error code", "unrecognized error code"};

const Entry& find(cudaError_t error) {
  const auto below = [](const Entry& entry, cudaError_t value) { return entry.error < value; };
  const Entry* found = std::lower_bound(std::begin(kEntries), std::end(kEntries), error, below);
  return found != std::end(kEntries) && found->error == error ? *found : kUnknown;
}

// What answers with text is counted, and not logged.
template <class Describe, class Body>
const char* counted(Function& function, Describe&&, Body&& body) {
  function.calls.fetch_add(1, std::memory_order_relaxed);
  return body(function);
}

}  // namespace

const char* errorName(cudaError_t error) { return find(error).name; }

const char* errorText(cudaError_t error) { return find(error).text; }

EMU_FUNCTION(cudaError_t, cudaGetLastError, (), api<cudaError_t>, (), device::takeLastError())

EMU_FUNCTION(cudaError_t, cudaPeekAtLastError, (), api<cudaError_t>, (), device::lastError())

EMU_FUNCTION(const char*, cudaGetErrorName, (cudaError_t error), counted, (), errorName(error))

EMU_FUNCTION(const char*, cudaGetErrorString, (cudaError_t error), counted, (), errorText(error))

}  // namespace emu
