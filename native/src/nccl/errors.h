// Error texts of the NCCL room.
#pragma once

#include <new>
#include <string>

#include "abi/nccl.h"

namespace emu::nccl {

// Ends a call that fails: what it answers, and the text for ncclGetLastError. Also how something ended that a call may
// leave to another thread; with ncclSuccess there is no text.
struct Failure {
  ncclResult_t code = ncclSuccess;
  std::string text;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(ncclResult_t code, const char* format, ...);
void checkCuda(const char* what, cudaError_t error);  // fails unless it is cudaSuccess
inline void check(const Failure& end) {
  if (end.code != ncclSuccess) throw end;
}

// How the body ends.
template <class Body>
Failure endOf(Body&& body) {
  try {
    body();
    return {};
  } catch (const Failure& failure) {
    return failure;
  } catch (const std::bad_alloc&) {
    return {ncclSystemError, "out of host memory"};
  }
}

// Keeps the text for ncclGetLastError of this thread, and returns the code.
ncclResult_t remember(const Failure& failure);
const std::string& lastError();  // of this thread

const char* resultText(ncclResult_t result);

}  // namespace emu::nccl
