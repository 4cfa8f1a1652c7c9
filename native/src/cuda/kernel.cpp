#include "cuda/kernel.h"

#include <cstring>
#include <map>
#include <mutex>

#include "base/host_access.h"
#include "cuda/device.h"
#include "cuda/entry.h"
#include "cuda/handle_table.h"
#include "cuda/stream.h"
#include "cuda/streams.h"
#include "cuda/work.h"

namespace emu {

// A library. Work that was captured before it was unloaded finds out.
struct KernelImage {
  explicit KernelImage(bool isCode) : code(isCode) {}

  const bool code;  // or no image at all, of which nothing is said before a kernel is asked for, as on a GPU
  std::atomic<bool> loaded{true};
  std::atomic<uint64_t> devices{0};  // a bit for each on which a kernel of it was launched or captured
  std::mutex mutex;
  std::map<std::string, cudaKernel_t> kernels;  // that were asked for
};

namespace kernels {

namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const KernelFunction>> functions;
};

Registry& registry() { return neverDestroyed<Registry>(); }

using LibraryTable = HandleTable<cudaLibrary_t, KernelImage, 0x4c>;
LibraryTable& libraries() { return neverDestroyed<LibraryTable>(); }

using KernelTable = HandleTable<cudaKernel_t, Kernel, 0x4b>;
KernelTable& table() { return neverDestroyed<KernelTable>(); }

// Cubins are ELF files, fatbins have a number of their own, PTX is text that names its version.
bool isCode(const void* image) {
  const auto* bytes = static_cast<const unsigned char*>(image);
  if (!readable(bytes, 4)) return false;
  static const unsigned char elf[] = {0x7f, 'E', 'L', 'F'};
  static const unsigned char fatbin[] = {0x50, 0xed, 0x55, 0xba};
  if (std::memcmp(bytes, elf, sizeof elf) == 0 || std::memcmp(bytes, fatbin, sizeof fatbin) == 0) return true;
  // The text ends with a NUL; comments may come first.
  static const char version[] = ".version";
  size_t matched = 0;
  const auto there = [&](size_t i) {
    const bool newPage = i == 0 || reinterpret_cast<uintptr_t>(bytes + i) % 4096 == 0;
    return !newPage || readable(bytes + i, 1);
  };
  for (size_t i = 0; there(i) && bytes[i] != 0 && bytes[i] < 0x80; i++) {
    matched = bytes[i] == static_cast<unsigned char>(version[matched]) ? matched + 1 : (bytes[i] == '.' ? 1 : 0);
    if (version[matched] == 0) return true;
  }
  return false;
}

cudaKernel_t handleOf(const std::shared_ptr<KernelImage>& image,
                      const std::shared_ptr<const KernelFunction>& function) {
  const std::lock_guard<std::mutex> lock(image->mutex);
  const auto known = image->kernels.find(function->name);
  if (known != image->kernels.end()) return known->second;
  const auto made = table().insert([&](cudaKernel_t handle) {
    auto kernel = std::make_shared<Kernel>();
    kernel->handle = handle;
    kernel->function = function;
    kernel->image = image;
    return kernel;
  });
  image->kernels.emplace(function->name, made->handle);
  return made->handle;
}

// A parameter list that a compiler could have made: in order, without overlap.
bool plausible(const nccl4jEmuParameter_t* parameters, size_t count) {
  size_t end = 0;
  for (size_t i = 0; i < count; i++) {
    const auto [offset, size] = std::pair{parameters[i].offset, parameters[i].size};
    if (size == 0 || size > 32764 || offset < end || offset > 32764) return false;
    end = offset + size;
  }
  return true;
}

}  // namespace

int add(const char* name, const nccl4jEmuParameter_t* parameters, size_t count, nccl4jEmuKernel_t run, void* context) {
  if (name == nullptr || name[0] == 0 || (count > 0 && parameters == nullptr) || !plausible(parameters, count)) {
    return NCCL4J_EMU_BAD_VALUE;
  }
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (run == nullptr) return all.functions.erase(name) != 0 ? NCCL4J_EMU_OK : NCCL4J_EMU_UNKNOWN_NAME;
  auto function = std::make_shared<KernelFunction>();
  function->name = name;
  function->parameters.assign(parameters, parameters + count);
  function->run = run;
  function->context = context;
  all.functions[name] = std::move(function);
  return NCCL4J_EMU_OK;
}

cudaLibrary_t load(const void* image) {
  cudaLibrary_t handle = nullptr;
  libraries().insert([&](cudaLibrary_t made) {
    handle = made;
    return std::make_shared<KernelImage>(isCode(image));
  });
  return handle;
}

void unload(cudaLibrary_t library) {
  const std::shared_ptr<KernelImage> image = libraries().take(library);
  require(image != nullptr, cudaErrorInvalidResourceHandle);
  // What is enqueued still has its code.
  for (int device = 0; device < device::count(); device++) {
    if ((image->devices.load() >> device & 1) != 0) drainDevice(device);
  }
  const std::lock_guard<std::mutex> lock(image->mutex);
  image->loaded.store(false, std::memory_order_release);
  for (const auto& entry : image->kernels) table().take(entry.second);
}

cudaKernel_t find(cudaLibrary_t library, const std::string& name) {
  const std::shared_ptr<KernelImage> image = libraries().get(library, cudaErrorInvalidResourceHandle);
  require(image->code, cudaErrorInvalidKernelImage);
  std::shared_ptr<const KernelFunction> function;
  {
    Registry& all = registry();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const auto found = all.functions.find(name);
    require(found != all.functions.end(), cudaErrorSymbolNotFound);
    function = found->second;
  }
  return handleOf(image, function);
}

std::vector<cudaKernel_t> all(cudaLibrary_t library) {
  const std::shared_ptr<KernelImage> image = libraries().get(library, cudaErrorInvalidResourceHandle);
  std::vector<cudaKernel_t> handles;
  if (!image->code) return handles;
  Registry& registered = registry();
  const std::lock_guard<std::mutex> lock(registered.mutex);
  for (const auto& entry : registered.functions) handles.push_back(handleOf(image, entry.second));
  return handles;
}

std::shared_ptr<Kernel> kernel(const void* handle) {
  return table().find(static_cast<cudaKernel_t>(const_cast<void*>(handle)));
}

cudaError_t launch(const cudaLaunchConfig_t& config, const std::shared_ptr<Kernel>& kernel, void** arguments) {
  kernel->image->devices.fetch_or(uint64_t{1} << streams::get(config.stream)->device());
  const std::vector<nccl4jEmuParameter_t>& parameters = kernel->function->parameters;
  std::vector<unsigned char> values(parameters.empty() ? 0 : parameters.back().offset + parameters.back().size);
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto* value = static_cast<const unsigned char*>(arguments[i]);
    require(readable(value, parameters[i].size));
    std::memcpy(values.data() + parameters[i].offset, value, parameters[i].size);
  }
  auto run = [function = kernel->function, image = kernel->image, values = std::move(values),
              config](WorkContext& context) {
    if (!image->loaded.load(std::memory_order_acquire)) {
      context.fail(cudaErrorIllegalInstruction, "the library of the kernel has been unloaded");
    }
    const dim3 grid = config.gridDim;
    const dim3 block = config.blockDim;
    const nccl4jEmuLaunch_t launch{{grid.x, grid.y, grid.z},
                                   {block.x, block.y, block.z},
                                   config.dynamicSmemBytes,
                                   values.data(),
                                   reinterpret_cast<uintptr_t>(context.stream),
                                   context.device,
                                   context.fromGraph ? 1 : 0,
                                   &context};
    const HostFunctionScope scope;
    const int result = function->run(&launch, function->context);
    const auto error = static_cast<cudaError_t>(result);
    if (error != cudaSuccess && context.text().empty()) context.fail(error, "the kernel returned %d", result);
    check(error);
  };
  // The function lives as long as the work does, and its name with it.
  return submit(config.stream, Work(kernel->function->name.c_str(), WorkKind::Kernel, std::move(run)));
}

}  // namespace kernels

}  // namespace emu
