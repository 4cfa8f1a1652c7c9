// Names and short texts of cudaError_t.
#pragma once

#include "abi/cuda_runtime.h"

namespace emu {

// Static strings, also for numbers that are no error of CUDA.
const char* errorName(cudaError_t error);
const char* errorText(cudaError_t error);

}  // namespace emu
