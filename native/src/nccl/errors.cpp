#include "nccl/errors.h"

#include <cstdarg>
#include <cstdio>

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

const std::string& lastError() { return lastText; }

const char* resultText(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "a CUDA call failed";
    case ncclSystemError: return "a system call failed";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "another rank ended, left or failed";
    case ncclInProgress: return "operation in progress";
    case ncclTimeout: return "operation timed out";
    default: return "unknown result code";
  }
}

}  // namespace emu::nccl
