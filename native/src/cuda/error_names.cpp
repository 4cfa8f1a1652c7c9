#include "cuda/error_names.h"

#include <algorithm>
#include <iterator>

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

}  // namespace

const char* errorName(cudaError_t error) { return find(error).name; }

const char* errorText(cudaError_t error) { return find(error).text; }

}  // namespace emu
