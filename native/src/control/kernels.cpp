// The kernels of the control interface.
#include "base/export.h"
#include "cuda/kernel.h"
#include "cuda/work.h"
#include "nccl4j_emulator.h"

namespace emu {

EMU_API int nccl4jEmuRegisterKernel(const char* name, const nccl4jEmuParameter_t* parameters, size_t count,
                                    nccl4jEmuKernel_t kernel, void* context) {
  return kernels::add(name, parameters, count, kernel, context);
}

EMU_API int nccl4jEmuKernelTouch(const nccl4jEmuLaunch_t* launch, const void* address, size_t bytes) {
  WorkContext& context = *static_cast<WorkContext*>(launch->work);
  return context.touch("memory", address, bytes) ? cudaSuccess : cudaErrorIllegalAddress;
}

EMU_API int nccl4jEmuKernelFail(const nccl4jEmuLaunch_t* launch, int error, const char* reason) {
  return static_cast<WorkContext*>(launch->work)->fail(static_cast<cudaError_t>(error), "%s", reason);
}

}  // namespace emu
