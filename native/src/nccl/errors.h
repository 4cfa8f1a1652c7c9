// Error texts of the NCCL room.
#pragma once

#include <string>

#include "abi/nccl.h"

namespace emu::nccl {

// Keeps the text for ncclGetLastError of this thread and returns the code, for `return fail(...)`.
__attribute__((format(printf, 2, 3))) ncclResult_t fail(ncclResult_t code, const char* format, ...);
ncclResult_t failWith(ncclResult_t code, const std::string& text);

// Likewise for a call of CUDA; cudaSuccess passes.
ncclResult_t failCuda(const char* what, cudaError_t error);

// How something ended that a call may leave to another thread; with ncclSuccess there is no text.
struct Failure {
  ncclResult_t code = ncclSuccess;
  std::string text;
};
ncclResult_t failWith(const Failure& failure);  // likewise, and ncclSuccess passes

const std::string& lastError();  // of this thread

const char* resultText(ncclResult_t result);

}  // namespace emu::nccl
