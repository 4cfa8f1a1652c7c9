#include "nccl/errors.h"


#include "base/text.h"
#include "cuda/error_names.h"

namespace emu::nccl {

namespace {
thread_local std::string lastText;
}  // namespace

void fail(ncclResult_t code, const char* format, ...) {
  EMU_TEXT(text, format);
  throw Failure{code, text};
}

void checkCuda(const char* what, cudaError_t error) {
  if (error != cudaSuccess) fail(ncclUnhandledCudaError, "%s: %s", what, errorName(error));
}

ncclResult_t remember(const Failure& failure) {
  lastText = failure.text;
  return failure.code;
}

const std::string& lastError() { return lastText; }

const char* resultText(ncclResult_t result) {
  constexpr const char* kTexts[ncclNumResults] = {"no error", "a CUDA call failed", "a system call failed",
                                                  "internal error", "invalid argument", "invalid usage",
                                                  "another rank ended, left or failed", "operation in progress",
                                                  "operation timed out"};
  return static_cast<unsigned>(result) < ncclNumResults ? kTexts[result] : "unknown result code";
}

}  // namespace emu::nccl
