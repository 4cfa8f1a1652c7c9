#include "nccl/errors.h"

#include <cstdarg>
#include <cstdio>

#include "cuda/error_names.h"

namespace emu::nccl {

namespace {
thread_local std::string lastText;
}  // namespace

ncclResult_t fail(ncclResult_t code, const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  lastText = text;
  return code;
}

ncclResult_t failWith(ncclResult_t code, const std::string& text) {
  lastText = text;
  return code;
}

ncclResult_t failCuda(const char* what, cudaError_t error) {
  return error == cudaSuccess ? ncclSuccess : fail(ncclUnhandledCudaError, "%s: %s", what, errorName(error));
}

ncclResult_t failWith(const Failure& failure) {
  return failure.code == ncclSuccess ? ncclSuccess : failWith(failure.code, failure.text);
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
