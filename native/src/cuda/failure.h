// How calls and work of the CUDA runtime fail.
#pragma once

#include <type_traits>

#include "abi/cuda_runtime.h"

namespace emu {

// Ends the call, or the running work, that throws it.
struct CudaFailure {
  cudaError_t error;
};

[[noreturn]] inline void fail(cudaError_t error) { throw CudaFailure{error}; }

// Fails unless it is cudaSuccess.
inline void check(cudaError_t error) {
  if (error != cudaSuccess) fail(error);
}

// Fails unless an argument is as it must be.
inline void require(bool valid, cudaError_t error = cudaErrorInvalidValue) {
  if (!valid) fail(error);
}

// What the body answers, which may be nothing, or fails with.
template <class Body>
cudaError_t resultOf(Body&& body) {
  try {
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      return cudaSuccess;
    } else {
      return body();
    }
  } catch (const CudaFailure& failure) {
    return failure.error;
  }
}

}  // namespace emu
