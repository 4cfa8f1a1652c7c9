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

const Entry* find(cudaError_t error) {
  const auto* end = std::end(kEntries);
  const auto* found =
      std::lower_bound(std::begin(kEntries), end, error, [](const Entry& entry, cudaError_t value) { return entry.error < value; });
  return found != end && found->error == error ? found : nullptr;
}

}  // namespace

const char* errorName(cudaError_t error) {
  const Entry* entry = find(error);
  return entry != nullptr ? entry->name : "unrecognized error code";
}

const char* errorText(cudaError_t error) {
  const Entry* entry = find(error);
  return entry != nullptr ? entry->text : "unrecognized error code";
}

}  // namespace emu
