// cudaLibrary*, cudaFunc*, and the launch of a kernel.
#include <algorithm>
#include <climits>
#include <cstdint>
#include <string>

#include "base/export.h"
#include "base/host_access.h"
#include "base/misuse.h"
#include "base/options.h"
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/kernel.h"
#include "cuda/streams.h"

namespace emu {

namespace {

constexpr unsigned kMaxGridYZ = 65535;
constexpr unsigned kMaxBlockZ = 64;
constexpr int kThreadsPerMultiprocessor = 2048;
constexpr int kBlocksPerMultiprocessor = 32;
constexpr int kSharedPerMultiprocessor = 233472;
constexpr int kSharedOfSystem = 1024;  // per block
constexpr int kWarp = 32;

// A number that is no kernel is followed by the real library.
std::shared_ptr<Kernel> known(const Function& function, const void* handle) {
  std::shared_ptr<Kernel> kernel = kernels::kernel(handle);
  if (kernel == nullptr && handle != nullptr) {
    misuse(End::Undefined, -1, function.name, "%p is no kernel, or its library was unloaded", handle);
  }
  return kernel;
}

// The answer of a call about a kernel.
template <class Body>
cudaError_t ask(const Function& function, const void* handle, Body&& body) {
  const std::shared_ptr<Kernel> kernel = known(function, handle);
  return kernel == nullptr ? cudaErrorInvalidDeviceFunction : body(*kernel);
}

cudaError_t load(cudaLibrary_t* library, const void* code) {
  return given(library) && code != nullptr ? answer(library, kernels::load(code)) : cudaErrorInvalidValue;
}

cudaError_t find(cudaKernel_t* kernel, cudaLibrary_t library, const char* name) {
  std::string text;
  if (!given(kernel) || !host::readText(name, &text)) return cudaErrorInvalidValue;
  return kernels::find(library, text.c_str(), kernel);
}

cudaError_t countKernels(unsigned* count, cudaLibrary_t library) {
  std::vector<cudaKernel_t> all;
  EMU_TRY(kernels::all(library, &all));
  return answer(count, static_cast<unsigned>(all.size()));
}

cudaError_t enumerate(cudaKernel_t* out, unsigned capacity, cudaLibrary_t library) {
  std::vector<cudaKernel_t> all;
  if (!room(out, capacity)) return cudaErrorInvalidValue;
  EMU_TRY(kernels::all(library, &all));
  std::copy_n(all.begin(), std::min<size_t>(capacity, all.size()), out);
  return cudaSuccess;
}

cudaError_t parameter(size_t* offset, size_t* size, size_t index, const Kernel& kernel) {
  const std::vector<nccl4jEmuParameter_t>& parameters = kernel.function->parameters;
  if (!given(offset) || !givenOrNull(size) || index >= parameters.size()) return cudaErrorInvalidValue;
  *offset = parameters[index].offset;
  if (size != nullptr) *size = parameters[index].size;
  return cudaSuccess;
}

int dynamicLimit(const Kernel& kernel) {
  const int chosen = kernel.dynamicShared[static_cast<size_t>(device::current())].load(std::memory_order_relaxed);
  return std::max(chosen, kernels::kDefaultShared);
}

cudaFuncAttributes attributes(const Kernel& kernel) {
  cudaFuncAttributes attributes{};
  attributes.maxThreadsPerBlock = kernels::kMaxThreads;
  attributes.numRegs = kernels::kRegisters;
  attributes.ptxVersion = options::computeCapability();
  attributes.binaryVersion = options::computeCapability();
  attributes.maxDynamicSharedSizeBytes = dynamicLimit(kernel);
  attributes.preferredShmemCarveout = -1;
  return attributes;
}

cudaError_t setAttribute(Kernel& kernel, cudaFuncAttribute attribute, int value) {
  switch (attribute) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
      if (value < 0 || value > kernels::kMostShared) return cudaErrorInvalidValue;
      kernel.dynamicShared[static_cast<size_t>(device::current())].store(value, std::memory_order_relaxed);
      return cudaSuccess;
    case cudaFuncAttributePreferredSharedMemoryCarveout:
      return value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue;
    default: return cudaErrorInvalidValue;
  }
}

bool launchable(const cudaLaunchConfig_t& config, const Kernel& kernel) {
  const dim3 grid = config.gridDim;
  const dim3 block = config.blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT_MAX || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ) return false;
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.z > kMaxBlockZ) return false;
  if (uint64_t{block.x} * block.y > kernels::kMaxThreads || block.x * block.y * block.z > kernels::kMaxThreads) return false;
  return config.dynamicSmemBytes <= static_cast<size_t>(dynamicLimit(kernel));
}

// A launch that is refused ends the capture that it was to become part of.
cudaError_t refuse(cudaStream_t stream) {
  std::shared_ptr<Stream> found;
  if (streams::resolve(stream, &found) == cudaSuccess && found->capturing.load()) capture::forbidCapturing(*found);
  return cudaErrorInvalidValue;
}

cudaError_t launch(const Function& call, const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  if (!readable(config, sizeof *config)) return cudaErrorInvalidValue;
  const std::shared_ptr<Kernel> kernel = known(call, function);
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  const std::vector<nccl4jEmuParameter_t>& parameters = kernel->function->parameters;
  if (config->numAttrs != 0) return cudaErrorNotSupported;
  if (!launchable(*config, *kernel) || !given(arguments, parameters.size())) return refuse(config->stream);
  for (size_t i = 0; i < parameters.size(); i++) {
    if (!host::readable(arguments[i], parameters[i].size)) return refuse(config->stream);
  }
  return kernels::launch(*config, kernel, arguments);
}

cudaError_t maxActiveBlocks(int* out, int threads, size_t dynamicShared, const Kernel& kernel) {
  if (threads <= 0) return cudaErrorInvalidValue;
  if (threads > kernels::kMaxThreads || dynamicShared > static_cast<size_t>(dynamicLimit(kernel))) return answer(out, 0);
  const int rounded = (threads + kWarp - 1) / kWarp * kWarp;
  const int byThreads = kThreadsPerMultiprocessor / rounded;
  const int byShared = kSharedPerMultiprocessor / (static_cast<int>(dynamicShared) + kSharedOfSystem);
  return answer(out, std::min({byThreads, byShared, kBlocksPerMultiprocessor}));
}

// For the log.
std::string nameOf(const void* function) {
  const std::shared_ptr<Kernel> kernel = kernels::kernel(function);
  return kernel == nullptr ? "?" : kernel->function->name;
}

std::string geometry(const cudaLaunchConfig_t* config) {
  if (!readable(config, sizeof *config)) return "?";
  const auto extent = [](dim3 dim) {
    return std::to_string(dim.x) + "," + std::to_string(dim.y) + "," + std::to_string(dim.z);
  };
  return "<<<" + extent(config->gridDim) + "; " + extent(config->blockDim) + "; " + std::to_string(config->dynamicSmemBytes) +
         ">>>";
}

void describe(Arguments& arguments, const char* name, const std::string& value) { arguments.text(name, value.c_str()); }

using emu::describe;

}  // namespace

EMU_API cudaError_t cudaLibraryLoadData(cudaLibrary_t* library, const void* code, cudaJitOption* jitOptions,
                                        void** jitOptionsValues, unsigned int numJitOptions, cudaLibraryOption* libraryOptions,
                                        void** libraryOptionValues, unsigned int numLibraryOptions) {
  const bool options = given(jitOptions, numJitOptions) && given(jitOptionsValues, numJitOptions) &&
                       given(libraryOptions, numLibraryOptions) && given(libraryOptionValues, numLibraryOptions);
  return EMU_CALL(entry<Needs::Device>, (made(library)), options ? load(library, code) : cudaErrorInvalidValue);
}

EMU_CUDA(NoCapture, cudaLibraryUnload, (cudaLibrary_t library), (library), kernels::unload(library))

EMU_CUDA(Device, cudaLibraryGetKernel, (cudaKernel_t* pKernel, cudaLibrary_t library, const char* name),
         (library, name), find(pKernel, library, name))

EMU_CUDA(Device, cudaLibraryGetKernelCount, (unsigned int* count, cudaLibrary_t lib), (lib), countKernels(count, lib))

EMU_CUDA(Device, cudaLibraryEnumerateKernels, (cudaKernel_t* kernels, unsigned int numKernels, cudaLibrary_t lib),
         (lib, numKernels), enumerate(kernels, numKernels, lib))

EMU_CUDA(Device, cudaFuncGetName, (const char** name, const void* func), (nameOf(func)),
         ask(call, func, [&](Kernel& kernel) { return answer(name, kernel.function->name.c_str()); }))

EMU_CUDA(Device, cudaFuncGetParamInfo, (const void* func, size_t paramIndex, size_t* paramOffset, size_t* paramSize),
         (nameOf(func), paramIndex),
         ask(call, func, [&](Kernel& kernel) { return parameter(paramOffset, paramSize, paramIndex, kernel); }))

EMU_CUDA(Device, cudaFuncGetAttributes, (cudaFuncAttributes* attr, const void* func), (nameOf(func)),
         ask(call, func, [&](Kernel& kernel) { return answer(attr, attributes(kernel)); }))

EMU_CUDA(Device, cudaFuncSetAttribute, (const void* func, cudaFuncAttribute attr, int value),
         (nameOf(func), attr, value),
         ask(call, func, [&](Kernel& kernel) { return setAttribute(kernel, attr, value); }))

EMU_CUDA(Device, cudaOccupancyMaxActiveBlocksPerMultiprocessor,
         (int* numBlocks, const void* func, int blockSize, size_t dynamicSMemSize),
         (nameOf(func), blockSize, dynamicSMemSize),
         ask(call, func, [&](Kernel& kernel) { return maxActiveBlocks(numBlocks, blockSize, dynamicSMemSize, kernel); }))

EMU_CUDA(Device, cudaLaunchKernelExC, (const cudaLaunchConfig_t* config, const void* func, void** args),
         (nameOf(func), geometry(config)), launch(call, config, func, args))

}  // namespace emu
