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

// The kernel that a call is about. A number that is no kernel is followed by the real library.
std::shared_ptr<Kernel> known(const Function& function, const void* handle) {
  std::shared_ptr<Kernel> kernel = kernels::kernel(handle);
  if (kernel == nullptr && handle != nullptr) {
    misuse(End::Undefined, -1, function.name, "%p is no kernel, or its library was unloaded", handle);
  }
  require(kernel != nullptr, cudaErrorInvalidDeviceFunction);
  return kernel;
}

void load(cudaLibrary_t* library, const void* code, bool optionsGiven) {
  require(optionsGiven && given(library) && code != nullptr);
  *library = kernels::load(code);
}

void find(cudaKernel_t* kernel, cudaLibrary_t library, const char* name) {
  std::string text;
  require(given(kernel) && host::readText(name, &text));
  *kernel = kernels::find(library, text);
}

void enumerate(cudaKernel_t* out, unsigned capacity, cudaLibrary_t library) {
  require(room(out, capacity));
  const std::vector<cudaKernel_t> all = kernels::all(library);
  std::copy_n(all.begin(), std::min<size_t>(capacity, all.size()), out);
}

void parameter(size_t* offset, size_t* size, size_t index, const Kernel& kernel) {
  const std::vector<nccl4jEmuParameter_t>& parameters = kernel.function->parameters;
  require(given(offset) && givenOrNull(size) && index < parameters.size());
  *offset = parameters[index].offset;
  if (size != nullptr) *size = parameters[index].size;
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

void setAttribute(Kernel& kernel, cudaFuncAttribute attribute, int value) {
  switch (attribute) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
      require(value >= 0 && value <= kernels::kMostShared);
      kernel.dynamicShared[static_cast<size_t>(device::current())].store(value, std::memory_order_relaxed);
      break;
    case cudaFuncAttributePreferredSharedMemoryCarveout: require(value >= -1 && value <= 100); break;
    default: fail(cudaErrorInvalidValue);
  }
}

bool launchable(const cudaLaunchConfig_t& config, const Kernel& kernel) {
  const dim3 grid = config.gridDim;
  const dim3 block = config.blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0) return false;
  if (grid.x > INT_MAX || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ || block.z > kMaxBlockZ) return false;
  const uint64_t area = uint64_t{block.x} * block.y;
  if (area > kernels::kMaxThreads || area * block.z > kernels::kMaxThreads) return false;
  return config.dynamicSmemBytes <= static_cast<size_t>(dynamicLimit(kernel));
}

// A launch that is refused ends the capture that it was to become part of.
[[noreturn]] void refuse(cudaStream_t stream) {
  const auto found = streams::find(stream);
  if (found != nullptr && found->capturing.load()) (void)resultOf([&] { capture::forbidCapturing(*found); });
  fail(cudaErrorInvalidValue);
}

cudaError_t launch(const Function& call, const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  require(readable(config, sizeof *config));
  const std::shared_ptr<Kernel> kernel = known(call, function);
  const std::vector<nccl4jEmuParameter_t>& parameters = kernel->function->parameters;
  require(config->numAttrs == 0, cudaErrorNotSupported);
  if (!launchable(*config, *kernel) || !given(arguments, parameters.size())) refuse(config->stream);
  for (size_t i = 0; i < parameters.size(); i++) {
    if (!host::readable(arguments[i], parameters[i].size)) refuse(config->stream);
  }
  return kernels::launch(*config, kernel, arguments);
}

void maxActiveBlocks(int* out, int threads, size_t dynamicShared, const Kernel& kernel) {
  require(threads > 0);
  const bool fits = threads <= kernels::kMaxThreads && dynamicShared <= static_cast<size_t>(dynamicLimit(kernel));
  if (!fits) return answer(out, 0);
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
  return "<<<" + extent(config->gridDim) + "; " + extent(config->blockDim) + "; " +
         std::to_string(config->dynamicSmemBytes) + ">>>";
}

}  // namespace

EMU_API cudaError_t cudaLibraryLoadData(cudaLibrary_t* library, const void* code, cudaJitOption* jitOptions,
                                        void** jitOptionsValues, unsigned int numJitOptions, cudaLibraryOption* libraryOptions,
                                        void** libraryOptionValues, unsigned int numLibraryOptions) {
  const bool options = given(jitOptions, numJitOptions) && given(jitOptionsValues, numJitOptions) &&
                       given(libraryOptions, numLibraryOptions) && given(libraryOptionValues, numLibraryOptions);
  return EMU_CALL(entry<Needs::Device>, (made(library)), load(library, code, options));
}

EMU_CUDA(NoCapture, cudaLibraryUnload, (cudaLibrary_t library), (library), kernels::unload(library))

EMU_CUDA(Device, cudaLibraryGetKernel, (cudaKernel_t* pKernel, cudaLibrary_t library, const char* name),
         (library, name), find(pKernel, library, name))

EMU_CUDA(Device, cudaLibraryGetKernelCount, (unsigned int* count, cudaLibrary_t lib), (lib),
         answer(count, static_cast<unsigned>(kernels::all(lib).size())))

EMU_CUDA(Device, cudaLibraryEnumerateKernels, (cudaKernel_t* kernels, unsigned int numKernels, cudaLibrary_t lib),
         (lib, numKernels), enumerate(kernels, numKernels, lib))

EMU_CUDA(Device, cudaFuncGetName, (const char** name, const void* func), (nameOf(func)),
         answer(name, known(call, func)->function->name.c_str()))

EMU_CUDA(Device, cudaFuncGetParamInfo, (const void* func, size_t paramIndex, size_t* paramOffset, size_t* paramSize),
         (nameOf(func), paramIndex),
         parameter(paramOffset, paramSize, paramIndex, *known(call, func)))

EMU_CUDA(Device, cudaFuncGetAttributes, (cudaFuncAttributes* attr, const void* func), (nameOf(func)),
         answer(attr, attributes(*known(call, func))))

EMU_CUDA(Device, cudaFuncSetAttribute, (const void* func, cudaFuncAttribute attr, int value),
         (nameOf(func), attr, value),
         setAttribute(*known(call, func), attr, value))

EMU_CUDA(Device, cudaOccupancyMaxActiveBlocksPerMultiprocessor,
         (int* numBlocks, const void* func, int blockSize, size_t dynamicSMemSize),
         (nameOf(func), blockSize, dynamicSMemSize),
         maxActiveBlocks(numBlocks, blockSize, dynamicSMemSize, *known(call, func)))

EMU_CUDA(Device, cudaLaunchKernelExC, (const cudaLaunchConfig_t* config, const void* func, void** args),
         (nameOf(func), geometry(config)), launch(call, config, func, args))

}  // namespace emu
