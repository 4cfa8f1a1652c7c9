#include "cuda.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "abi/cuda_runtime.h"
#include "report.h"

namespace rma_local {
namespace {

using abi::Result;

// The runtime that the program uses, so that the plugin needs none when it is built, and runs on the emulator too.
void* runtimeFunction(const char* name) {
  if (void* function = dlsym(RTLD_DEFAULT, name)) return function;
  static void* const library = [] {
    const char* path = std::getenv("NCCL4J_RMA_LOCAL_CUDART");
    if (path != nullptr) return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void* loaded = dlopen("libcudart.so.13", RTLD_NOW | RTLD_NOLOAD);
    return loaded != nullptr ? loaded : dlopen("libcudart.so.13", RTLD_NOW | RTLD_LOCAL);
  }();
  void* function = library == nullptr ? nullptr : dlsym(library, name);
  if (function == nullptr) {
    fail(Result::SystemError, "no %s: put the folder of libcudart.so.13 into LD_LIBRARY_PATH, or name the file in "
         "NCCL4J_RMA_LOCAL_CUDART", name);
  }
  return function;
}

#define RUNTIME(name) reinterpret_cast<decltype(&::name)>(runtimeFunction(#name))

struct Runtime {
  decltype(&::cudaSetDevice) setDevice = RUNTIME(cudaSetDevice);
  decltype(&::cudaHostAlloc) hostAlloc = RUNTIME(cudaHostAlloc);
  decltype(&::cudaFreeHost) freeHost = RUNTIME(cudaFreeHost);
  decltype(&::cudaMemcpyAsync) memcpyAsync = RUNTIME(cudaMemcpyAsync);
  decltype(&::cudaPointerGetAttributes) pointerGetAttributes = RUNTIME(cudaPointerGetAttributes);
  decltype(&::cudaStreamCreateWithFlags) streamCreateWithFlags = RUNTIME(cudaStreamCreateWithFlags);
  decltype(&::cudaStreamDestroy) streamDestroy = RUNTIME(cudaStreamDestroy);
  decltype(&::cudaStreamSynchronize) streamSynchronize = RUNTIME(cudaStreamSynchronize);
  decltype(&::cudaGetErrorString) getErrorString = RUNTIME(cudaGetErrorString);
  decltype(&::cudaThreadExchangeStreamCaptureMode) exchangeCaptureMode = RUNTIME(cudaThreadExchangeStreamCaptureMode);

  static const Runtime& get() {
    static const Runtime runtime;
    return runtime;
  }

  void check(cudaError_t error, const char* what, int device) const {
    if (error != cudaSuccess) {
      fail(Result::CudaError, "%s on device %d: %s (%d)", what, device, getErrorString(error),
           static_cast<int>(error));
    }
  }
};

// The driver, where there is one: the emulator has none. Contexts are made with the oldest of its functions, which all
// drivers have.
struct Driver {
  using Context = struct CUctx_st*;

  int (*deviceGet)(int* device, int ordinal) = nullptr;
  int (*contextCreate)(Context* context, unsigned flags, int device) = nullptr;
  int (*contextSetCurrent)(Context context) = nullptr;
  int (*contextDestroy)(Context context) = nullptr;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) return;
    find(library, "cuDeviceGet", &deviceGet);
    find(library, "cuCtxCreate_v2", &contextCreate);
    find(library, "cuCtxSetCurrent", &contextSetCurrent);
    find(library, "cuCtxDestroy_v2", &contextDestroy);
  }

  bool isThere() const { return contextCreate != nullptr; }

  void check(int error, const char* what, int device) const {
    if (error != 0) fail(Result::CudaError, "%s of device %d: driver error %d", what, device, error);
  }

  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

 private:
  template <typename Function>
  static void find(void* library, const char* name, Function* function) {
    *function = reinterpret_cast<Function>(dlsym(library, name));
    if (*function == nullptr) fail(Result::SystemError, "the driver has no %s", name);
  }
};

bool ownContexts() {
  const char* choice = std::getenv("NCCL4J_RMA_LOCAL_CONTEXT");
  if (choice != nullptr && std::strcmp(choice, "own") != 0 && std::strcmp(choice, "primary") != 0) {
    fail(Result::InvalidUsage, "NCCL4J_RMA_LOCAL_CONTEXT=%s: must be own or primary", choice);
  }
  return Driver::get().isThere() && (choice == nullptr || std::strcmp(choice, "own") == 0);
}

// One of each device for all ranks of this process; ends with the last of them.
class OwnContext {
 public:
  explicit OwnContext(int device) : device_(device) {
    const Driver& driver = Driver::get();
    int handle = 0;
    driver.check(driver.deviceGet(&handle, device), "cuDeviceGet", device);
    driver.check(driver.contextCreate(&context_, 0, handle), "cuCtxCreate", device);
  }
  ~OwnContext() { Driver::get().contextDestroy(context_); }
  OwnContext(const OwnContext&) = delete;
  OwnContext& operator=(const OwnContext&) = delete;

  void makeCurrent() const {
    Driver::get().check(Driver::get().contextSetCurrent(context_), "cuCtxSetCurrent", device_);
  }

  static std::shared_ptr<OwnContext> of(int device) {
    static std::mutex mutex;
    static std::map<int, std::weak_ptr<OwnContext>> all;
    const std::lock_guard<std::mutex> lock(mutex);
    std::shared_ptr<OwnContext> context = all[device].lock();
    if (context == nullptr) all[device] = context = std::make_shared<OwnContext>(device);
    return context;
  }

 private:
  const int device_;
  Driver::Context context_ = nullptr;
};

}  // namespace

int deviceOf(const void* memory) {
  cudaPointerAttributes attributes{};
  const Runtime& runtime = Runtime::get();
  runtime.check(runtime.pointerGetAttributes(&attributes, memory), "cudaPointerGetAttributes", -1);
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    fail(Result::InvalidArgument, "%p is registered as a device's memory and is none", memory);
  }
  return attributes.device;
}

struct Copies::Device {
  explicit Device(int device) : number(device), context(ownContexts() ? OwnContext::of(device) : nullptr) {
    makeCurrent();
    const Runtime& runtime = Runtime::get();
    runtime.check(runtime.streamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", number);
  }
  ~Device() {
    try {
      makeCurrent();
      Runtime::get().streamDestroy(stream);
    } catch (const Error& e) {
      print("%s", e.what());
    }
    // No thread may keep a context that ends.
    if (context != nullptr) Driver::get().contextSetCurrent(nullptr);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void makeCurrent() const {
    if (context != nullptr) context->makeCurrent();
    else Runtime::get().check(Runtime::get().setDevice(number), "cudaSetDevice", number);
  }

  void copy(void* to, const void* from, std::size_t size, cudaMemcpyKind kind) const {
    const Runtime& runtime = Runtime::get();
    runtime.check(runtime.memcpyAsync(to, from, size, kind, stream), "cudaMemcpyAsync", number);
    runtime.check(runtime.streamSynchronize(stream), "a copy", number);
  }

  const int number;
  const std::shared_ptr<OwnContext> context;
  cudaStream_t stream = nullptr;
};

// A capture of another thread must not forbid anything here.
Copies::Copies() {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  Runtime::get().exchangeCaptureMode(&mode);
}

Copies::~Copies() {
  if (piece_ != nullptr) {
    try {
      devices_.begin()->second->makeCurrent();
      Runtime::get().freeHost(piece_);
    } catch (const Error& e) {
      print("%s", e.what());
    }
  }
}

Copies::Device& Copies::current(int device) {
  const auto found = devices_.find(device);
  if (found == devices_.end()) fail(Result::InternalError, "device %d is not prepared", device);
  found->second->makeCurrent();
  return *found->second;
}

void Copies::prepare(int device, const void* memory, std::size_t size) {
  if (devices_.find(device) == devices_.end()) devices_.emplace(device, std::make_unique<Device>(device));
  current(device);
  if (piece_ == nullptr) {
    const Runtime& runtime = Runtime::get();
    runtime.check(runtime.hostAlloc(&piece_, pieceBytes, cudaHostAllocPortable), "cudaHostAlloc", device);
  }
  if (memory != nullptr && size > 0) {
    read(device, piece_, memory, 1);
    read(device, piece_, static_cast<const char*>(memory) + size - 1, 1);
  }
}

void Copies::read(int device, void* pinned, const void* memory, std::size_t size) {
  current(device).copy(pinned, memory, size, cudaMemcpyDeviceToHost);
}

void Copies::write(int device, void* memory, const void* pinned, std::size_t size) {
  current(device).copy(memory, pinned, size, cudaMemcpyHostToDevice);
}

}  // namespace rma_local
