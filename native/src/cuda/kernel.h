// Kernels of the program: functions that were registered by name, and the libraries ("images") through which CUDA calls
// them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "abi/cuda_runtime.h"
#include "base/options.h"
#include "nccl4j_emulator.h"

namespace emu {

// What was registered; stays as it is for those who have it, also when the name is registered anew.
struct KernelFunction {
  std::string name;
  std::vector<nccl4jEmuParameter_t> parameters;
  nccl4jEmuKernel_t run = nullptr;
  void* context = nullptr;
};

struct KernelImage;

// One kernel of one library: what a cudaKernel_t stands for.
struct Kernel {
  cudaKernel_t handle = nullptr;
  std::shared_ptr<const KernelFunction> function;
  std::shared_ptr<KernelImage> image;
  // More than the default, per device, after cudaFuncSetAttribute.
  std::array<std::atomic<int>, options::kMostDevices> dynamicShared{};
};

namespace kernels {

constexpr int kMaxThreads = 1024;  // per block
constexpr int kDefaultShared = 48 * 1024;
constexpr int kMostShared = 232448;  // that a block may opt in to
constexpr int kRegisters = 32;       // per thread, as if compiled

// ---- registered functions ----

// Code of the control interface.
int add(const char* name, const nccl4jEmuParameter_t* parameters, size_t count, nccl4jEmuKernel_t run, void* context);

// ---- libraries ----

cudaLibrary_t load(const void* image);
// These fail with cudaErrorInvalidResourceHandle if there is no such library.
void unload(cudaLibrary_t library);
cudaKernel_t find(cudaLibrary_t library, const std::string& name);
std::vector<cudaKernel_t> all(cudaLibrary_t library);
// NULL if the handle is none, or its library was unloaded.
std::shared_ptr<Kernel> kernel(const void* handle);

// Enqueues or captures it; the arguments are copied now.
cudaError_t launch(const cudaLaunchConfig_t& config, const std::shared_ptr<Kernel>& kernel, void** arguments);

}  // namespace kernels

}  // namespace emu
