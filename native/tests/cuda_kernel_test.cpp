#include <cstring>
#include <string>

#include "cuda_support.h"

namespace emu::test {
namespace {

// y += factor * x, for n elements; the parameters of `axpy`.
struct Axpy {
  const float* x;
  float* y;
  int n;
  float factor;
};

int axpy(const nccl4jEmuLaunch_t* launch, void*) {
  Axpy a;
  std::memcpy(&a, launch->arguments, sizeof a);
  const size_t bytes = static_cast<size_t>(a.n) * sizeof(float);
  if (nccl4jEmuKernelTouch(launch, a.x, bytes) != cudaSuccess) return cudaErrorIllegalAddress;
  if (nccl4jEmuKernelTouch(launch, a.y, bytes) != cudaSuccess) return cudaErrorIllegalAddress;
  for (int i = 0; i < a.n; ++i) a.y[i] += a.factor * a.x[i];
  return cudaSuccess;
}

int fails(const nccl4jEmuLaunch_t* launch, void* context) {
  return nccl4jEmuKernelFail(launch, cudaErrorAssert, static_cast<const char*>(context));
}

class Kernels : public CudaTest {
 protected:
  static constexpr const char* kPtx = "// made by hand\n.version 9.0\n";
  static constexpr int kCount = 100;

  void SetUp() override {
    CudaTest::SetUp();
    const nccl4jEmuParameter_t parameters[] = {{0, 8}, {8, 8}, {16, 4}, {20, 4}};
    ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuRegisterKernel("axpy", parameters, 4, axpy, nullptr));
    ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuRegisterKernel("fails", nullptr, 0, fails, const_cast<char*>("on purpose")));
    library_ = load(kPtx);
    ASSERT_CUDA(cudaLibraryGetKernel(&axpy_, library_, "axpy"));
    stream_ = makeStream();
    x_ = makeDevice<float>(kCount);
    y_ = makeDevice<float>(kCount);
    for (int i = 0; i < kCount; ++i) x_[i] = static_cast<float>(i);
    config_.gridDim = {1, 1, 1};
    config_.blockDim = {32, 1, 1};
    config_.stream = stream_;
  }

  void TearDown() override {
    nccl4jEmuRegisterKernel("axpy", nullptr, 0, nullptr, nullptr);
    nccl4jEmuRegisterKernel("fails", nullptr, 0, nullptr, nullptr);
    CudaTest::TearDown();
  }

  static cudaLibrary_t load(const void* image) {
    cudaLibrary_t library = nullptr;
    EXPECT_CUDA(cudaLibraryLoadData(&library, image, nullptr, nullptr, 0, nullptr, nullptr, 0));
    return library;
  }

  cudaError_t launch(int n, float factor) {
    // Gone when the kernel runs: the values are taken at the call.
    const float* x = x_;
    float* y = y_;
    void* arguments[] = {&x, &y, &n, &factor};
    return cudaLaunchKernelExC(&config_, axpy_, arguments);
  }

  void expectY(int n, float factor) {
    ASSERT_CUDA(cudaStreamSynchronize(stream_));
    for (int i = 0; i < kCount; ++i) ASSERT_EQ(i < n ? factor * static_cast<float>(i) : 0, y_[i]) << i;
  }

  cudaLibrary_t library_ = nullptr;
  cudaKernel_t axpy_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaLaunchConfig_t config_{};
  float* x_ = nullptr;
  float* y_ = nullptr;
};

TEST_F(Kernels, RunInStreamOrderWithTheValuesOfTheirCall) {
  Gate gate;
  gate.put(stream_);
  ASSERT_CUDA(launch(kCount, 2));
  ASSERT_CUDA(launch(50, 0));
  ASSERT_CUDA(cudaMemsetAsync(y_ + 90, 0, 10 * sizeof(float), stream_));
  EXPECT_EQ(0, y_[1]);
  gate.open();
  expectY(90, 2);
}

TEST_F(Kernels, ReplaysHaveTheValuesOfTheirCapture) {
  const cudaGraph_t graph = capture(stream_, [&] { ASSERT_CUDA(launch(10, 3)); });
  const cudaGraphExec_t exec = instantiate(graph);
  expectY(0, 0);
  ASSERT_CUDA(cudaGraphLaunch(exec, stream_));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream_));
  expectY(10, 6);
}

TEST_F(Kernels, AreFoundByName) {
  unsigned count = 0;
  ASSERT_CUDA(cudaLibraryGetKernelCount(&count, library_));
  std::vector<cudaKernel_t> all(count);
  ASSERT_CUDA(cudaLibraryEnumerateKernels(all.data(), count, library_));
  std::vector<std::string> names;
  for (const cudaKernel_t kernel : all) {
    const char* name = nullptr;
    ASSERT_CUDA(cudaFuncGetName(&name, kernel));
    names.emplace_back(name);
  }
  EXPECT_EQ((std::vector<std::string>{"axpy", "fails"}), names);
  cudaKernel_t kernel = nullptr;
  EXPECT_EQ(cudaErrorSymbolNotFound, cudaLibraryGetKernel(&kernel, library_, "axpby"));
  EXPECT_EQ(cudaErrorSymbolNotFound, cudaGetLastError());
  EXPECT_EQ(cudaErrorInvalidValue, cudaLibraryGetKernel(&kernel, library_, nullptr));
  ASSERT_CUDA(cudaLibraryGetKernel(&kernel, library_, "axpy"));
  EXPECT_EQ(axpy_, kernel);
}

TEST_F(Kernels, TellTheirParametersAndAttributes) {
  size_t offset = 0;
  size_t size = 0;
  ASSERT_CUDA(cudaFuncGetParamInfo(axpy_, 3, &offset, &size));
  EXPECT_EQ(20u, offset);
  EXPECT_EQ(4u, size);
  EXPECT_EQ(cudaErrorInvalidValue, cudaFuncGetParamInfo(axpy_, 4, &offset, &size));
  cudaFuncAttributes attributes{};
  ASSERT_CUDA(cudaFuncGetAttributes(&attributes, axpy_));
  EXPECT_EQ(1024, attributes.maxThreadsPerBlock);
  EXPECT_EQ(49152, attributes.maxDynamicSharedSizeBytes);
  EXPECT_EQ(cudaErrorInvalidValue, cudaFuncSetAttribute(axpy_, cudaFuncAttributeMaxDynamicSharedMemorySize, 232449));
  ASSERT_CUDA(cudaFuncSetAttribute(axpy_, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448));
  ASSERT_CUDA(cudaFuncGetAttributes(&attributes, axpy_));
  EXPECT_EQ(232448, attributes.maxDynamicSharedSizeBytes);
  int blocks = 0;
  ASSERT_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, axpy_, 1024, 0));
  EXPECT_EQ(2, blocks);
  ASSERT_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, axpy_, 32, 232448));
  EXPECT_EQ(1, blocks);
  ASSERT_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, axpy_, 32, 232449));
  EXPECT_EQ(0, blocks);
}

TEST_F(Kernels, ImpossibleLaunchesAreRefused) {
  for (const dim3 grid : {dim3{0, 1, 1}, dim3{1, 0, 1}, dim3{1, 1, 0}, dim3{1, 65536, 1}, dim3{1, 1, 65536}}) {
    config_.gridDim = grid;
    EXPECT_EQ(cudaErrorInvalidValue, launch(1, 1));
  }
  config_.gridDim = {1, 1, 1};
  for (const dim3 block : {dim3{0, 1, 1}, dim3{1025, 1, 1}, dim3{32, 33, 1}, dim3{1, 1, 65}, dim3{65536, 65536, 1}}) {
    config_.blockDim = block;
    EXPECT_EQ(cudaErrorInvalidValue, launch(1, 1));
  }
  config_.blockDim = {1024, 1, 1};
  config_.dynamicSmemBytes = 49153;
  EXPECT_EQ(cudaErrorInvalidValue, launch(1, 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGetLastError());
  config_.dynamicSmemBytes = 49152;
  void* arguments[] = {&x_, &y_, nullptr, nullptr};
  EXPECT_EQ(cudaErrorInvalidValue, cudaLaunchKernelExC(&config_, axpy_, arguments));
  EXPECT_EQ(cudaErrorInvalidDeviceFunction, cudaLaunchKernelExC(&config_, nullptr, arguments));
  ASSERT_CUDA(cudaSetDevice(1));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, launch(1, 1));
  ASSERT_CUDA(cudaSetDevice(0));
  ASSERT_CUDA(launch(kCount, 1));
  expectY(kCount, 1);
}

TEST_F(Kernels, ARefusedLaunchEndsTheCapture) {
  ASSERT_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
  config_.gridDim.x = 0;
  EXPECT_EQ(cudaErrorInvalidValue, launch(1, 1));
  config_.gridDim.x = 1;
  EXPECT_EQ(cudaErrorStreamCaptureInvalidated, launch(1, 1));
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(stream_, &graph));
  EXPECT_EQ(nullptr, graph);
}

TEST_F(Kernels, WrongAddressesLoseTheDevice) {
  ASSERT_CUDA(launch(kCount + 1, 1));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream_));
  EXPECT_NE(std::string::npos, errorText(0).find("axpy: memory: 404 bytes")) << errorText(0);
}

TEST_F(Kernels, MayFail) {
  cudaKernel_t kernel = nullptr;
  ASSERT_CUDA(cudaLibraryGetKernel(&kernel, library_, "fails"));
  ASSERT_CUDA(cudaLaunchKernelExC(&config_, kernel, nullptr));
  EXPECT_EQ(cudaErrorAssert, cudaStreamSynchronize(stream_));
  EXPECT_EQ("fails: on purpose", errorText(0));
}

TEST_F(Kernels, NothingIsSaidOfGarbageBeforeAKernelIsAskedFor) {
  const unsigned char cubin[] = {0x7f, 'E', 'L', 'F', 0};
  const unsigned char fatbin[] = {0x50, 0xed, 0x55, 0xba, 0};
  cudaKernel_t kernel = nullptr;
  for (const void* image : {static_cast<const void*>(cubin), static_cast<const void*>(fatbin)}) {
    const cudaLibrary_t library = load(image);
    EXPECT_CUDA(cudaLibraryGetKernel(&kernel, library, "axpy"));
    EXPECT_CUDA(cudaLibraryUnload(library));
  }
  const cudaLibrary_t garbage = load("no image");
  unsigned count = 1;
  EXPECT_CUDA(cudaLibraryGetKernelCount(&count, garbage));
  EXPECT_EQ(0u, count);
  EXPECT_EQ(cudaErrorInvalidKernelImage, cudaLibraryGetKernel(&kernel, garbage, "axpy"));
  EXPECT_CUDA(cudaLibraryUnload(garbage));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaLibraryUnload(garbage));
}

TEST_F(Kernels, LibrariesAreLoadedButNotUnloadedInACapture) {
  ASSERT_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
  const cudaLibrary_t library = load(kPtx);
  cudaKernel_t kernel = nullptr;
  EXPECT_CUDA(cudaLibraryGetKernel(&kernel, library, "axpy"));
  EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaLibraryUnload(library));
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(stream_, &graph));
}

// Ranks are threads with a device each: one that waits for others must not keep them from unloading theirs.
TEST_F(Kernels, UnloadingWaitsForTheDevicesThatHaveUsedIt) {
  ASSERT_CUDA(launch(kCount, 1));
  ASSERT_CUDA(cudaSetDevice(1));
  Gate gate;
  gate.put(makeStream());
  ASSERT_CUDA(cudaSetDevice(0));
  EXPECT_CUDA(cudaLibraryUnload(library_));
  expectY(kCount, 1);
}

TEST_F(Kernels, UseAfterUnloadIsMisuse) {
  const cudaGraphExec_t exec = instantiate(capture(stream_, [&] { ASSERT_CUDA(launch(10, 1)); }));
  // What is enqueued still runs.
  Gate gate;
  gate.put(stream_);
  ASSERT_CUDA(launch(kCount, 1));
  std::thread opener([&] { gate.open(); });
  ASSERT_CUDA(cudaLibraryUnload(library_));
  opener.join();
  expectY(kCount, 1);
  const ScopedOption report{"misuse", "report"};
  EXPECT_EQ(cudaErrorInvalidDeviceFunction, launch(1, 1));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream_));
  EXPECT_EQ(cudaErrorIllegalInstruction, cudaStreamSynchronize(stream_));
  EXPECT_NE(std::string::npos, errorText(0).find("unloaded")) << errorText(0);
}

TEST_F(Kernels, ANameCanBeRegisteredAnew) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuRegisterKernel("axpy", nullptr, 0, fails, const_cast<char*>("the new one")));
  const cudaLibrary_t other = load(kPtx);
  cudaKernel_t kernel = nullptr;
  ASSERT_CUDA(cudaLibraryGetKernel(&kernel, other, "axpy"));
  ASSERT_CUDA(launch(kCount, 1));
  expectY(kCount, 1);
  ASSERT_CUDA(cudaLaunchKernelExC(&config_, kernel, nullptr));
  EXPECT_EQ(cudaErrorAssert, cudaStreamSynchronize(stream_));
}

TEST_F(Kernels, RegistrationsAreChecked) {
  const nccl4jEmuParameter_t overlapping[] = {{0, 8}, {4, 8}};
  const nccl4jEmuParameter_t empty[] = {{0, 0}};
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuRegisterKernel(nullptr, nullptr, 0, axpy, nullptr));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuRegisterKernel("", nullptr, 0, axpy, nullptr));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuRegisterKernel("a", nullptr, 1, axpy, nullptr));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuRegisterKernel("a", overlapping, 2, axpy, nullptr));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuRegisterKernel("a", empty, 1, axpy, nullptr));
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuRegisterKernel("a", nullptr, 0, nullptr, nullptr));
}

}  // namespace
}  // namespace emu::test
