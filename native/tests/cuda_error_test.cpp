#include <sys/wait.h>
#include <unistd.h>

#include "cuda_support.h"

namespace emu::test {
namespace {

class Errors : public CudaTest {
 protected:
  static void makeIllegalAccess() {
    auto* pointer = makeDevice<char>(16);
    ASSERT_CUDA(cudaFree(pointer));
    ASSERT_CUDA(cudaMemset(pointer, 0, 16));
    ASSERT_EQ(cudaErrorIllegalAddress, cudaDeviceSynchronize());
  }
};

TEST_F(Errors, TheLastOneIsKeptPerThread) {
  EXPECT_EQ(cudaErrorInvalidValue, cudaMalloc(nullptr, 1));
  int device = 0;
  EXPECT_CUDA(cudaGetDevice(&device));
  elsewhere([] { EXPECT_CUDA(cudaPeekAtLastError()); });
  EXPECT_EQ(cudaErrorInvalidValue, cudaPeekAtLastError());
  EXPECT_EQ(cudaErrorInvalidValue, cudaGetLastError());
  EXPECT_CUDA(cudaGetLastError());
}

TEST_F(Errors, UnfinishedWorkIsNoError) {
  const cudaStream_t stream = makeStream();
  Gate gate;
  gate.put(stream);
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(stream));
  EXPECT_CUDA(cudaPeekAtLastError());
}

TEST_F(Errors, AStickyOneStaysUntilTheReset) {
  makeIllegalAccess();
  void* pointer = nullptr;
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  EXPECT_EQ(cudaErrorIllegalAddress, cudaMalloc(&pointer, 1));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaFree(nullptr));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamCreate(&stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaEventCreate(&event));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaGetLastError());
  EXPECT_CUDA(cudaGetLastError()) << "until a call fails again";
  // What needs no work of the device.
  int number = 0;
  uint64_t used = 0;
  cudaGraph_t graph = nullptr;
  cudaGraphNode_t node = nullptr;
  cudaGraphNodeType type;
  cudaMemPool_t pool = nullptr;
  cudaPointerAttributes attributes;
  EXPECT_CUDA(cudaGetDeviceCount(&number));
  EXPECT_CUDA(cudaGetDevice(&number));
  EXPECT_CUDA(cudaDeviceGetAttribute(&number, cudaDevAttrWarpSize, 0));
  EXPECT_CUDA(cudaGraphCreate(&graph, 0));
  EXPECT_CUDA(cudaGraphAddEmptyNode(&node, graph, nullptr, 0));
  EXPECT_CUDA(cudaGraphNodeGetType(node, &type));
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaErrorIllegalAddress, cudaGraphInstantiate(&exec, graph, 0));
  EXPECT_CUDA(cudaGraphDestroy(graph));
  EXPECT_CUDA(cudaMalloc(&pointer, 0));
  EXPECT_CUDA(cudaMemcpy(nullptr, nullptr, 0, cudaMemcpyDefault));
  EXPECT_CUDA(cudaMemset(nullptr, 0, 0));
  EXPECT_CUDA(cudaDeviceGetDefaultMemPool(&pool, 0));
  EXPECT_CUDA(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used));
  EXPECT_CUDA(cudaPointerGetAttributes(&attributes, &graph));
  // And what is wrong anyway.
  EXPECT_EQ(cudaErrorInvalidValue, cudaMalloc(nullptr, 4));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventQuery(nullptr));
  EXPECT_EQ(cudaErrorInvalidDevice, cudaSetDevice(99));
  // Other devices go on, and other threads of this one see it too.
  ASSERT_CUDA(cudaSetDevice(1));
  EXPECT_CUDA(cudaMalloc(&pointer, 1));
  elsewhere([] { EXPECT_EQ(cudaErrorIllegalAddress, cudaDeviceSynchronize()); });
  ASSERT_CUDA(cudaSetDevice(0));
  EXPECT_NE("", errorText(0));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaMalloc(&pointer, 1));
  ASSERT_CUDA(cudaDeviceReset());
  EXPECT_EQ(cudaErrorIllegalAddress, cudaGetLastError()) << "which is the thread's, not the device's";
  EXPECT_EQ("", errorText(0));
  EXPECT_CUDA(cudaMalloc(&pointer, 1));
}

TEST_F(Errors, WorkBehindAStickyOneIsPassedOver) {
  const cudaStream_t stream = makeStream();
  const cudaEvent_t event = makeEvent();
  auto* pointer = makeDevice<char>(16);
  ASSERT_CUDA(cudaFree(pointer));
  Gate gate;
  gate.put(stream);
  std::atomic<bool> ran{false};
  ASSERT_CUDA(cudaMemsetAsync(pointer, 0, 16, stream));
  ASSERT_CUDA(cudaLaunchHostFunc(
      stream, [](void* flag) { *static_cast<std::atomic<bool>*>(flag) = true; }, &ran));
  ASSERT_CUDA(cudaEventRecord(event, stream));
  gate.open();
  EXPECT_EQ(cudaErrorIllegalAddress, cudaEventSynchronize(event));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  EXPECT_FALSE(ran);
}

TEST_F(Errors, ResetFreesEverythingOfTheDevice) {
  makeDevice<char>(100);
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 10));
  const cudaStream_t stream = makeStream();
  const cudaEvent_t event = makeEvent();
  cudaGraph_t graph = capture(stream, [] {});
  cudaGraphExec_t exec = instantiate(graph);
  ASSERT_CUDA(cudaSetDevice(1));
  auto* other = makeDevice<char>(100);
  const cudaStream_t otherStream = makeStream();
  ASSERT_CUDA(cudaSetDevice(0));
  ASSERT_CUDA(cudaDeviceReset());
  const nccl4jEmuUsage_t empty = usage(0);
  EXPECT_EQ(0U, empty.device_allocations + empty.pinned_allocations + empty.streams + empty.events + empty.graphs +
                    empty.graph_execs);
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(stream));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventQuery(event));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphLaunch(exec, nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphDestroy(graph));
  ASSERT_CUDA(cudaSetDevice(1));
  EXPECT_CUDA(cudaMemsetAsync(other, 0, 100, otherStream));
  EXPECT_CUDA(cudaStreamSynchronize(otherStream));
}

TEST_F(Errors, ResetPassesOverWhatWaits) {
  const cudaStream_t stream = makeStream();
  Gate gate;
  gate.put(stream);
  std::atomic<bool> ran{false};
  ASSERT_CUDA(cudaLaunchHostFunc(
      stream, [](void* flag) { *static_cast<std::atomic<bool>*>(flag) = true; }, &ran));
  std::thread opener([&] { gate.open(); });
  ASSERT_CUDA(cudaDeviceReset());
  opener.join();
  EXPECT_EQ(0U, usage(0).streams);
}

TEST_F(Errors, HostFunctionsMustNotCallCuda) {
  const cudaStream_t stream = makeStream();
  std::vector<cudaError_t> forbidden;
  std::vector<cudaError_t> allowed;
  struct Results {
    std::vector<cudaError_t>* forbidden;
    std::vector<cudaError_t>* allowed;
  } results{&forbidden, &allowed};
  ASSERT_CUDA(cudaLaunchHostFunc(
      stream,
      [](void* data) {
        const auto* out = static_cast<Results*>(data);
        void* pointer = nullptr;
        int number = 0;
        cudaPointerAttributes attributes;
        cudaGraph_t graph = nullptr;
        cudaMemPool_t pool = nullptr;
        *out->allowed = {cudaGetDeviceCount(&number), cudaDriverGetVersion(&number), cudaRuntimeGetVersion(&number)};
        *out->forbidden = {cudaMalloc(&pointer, 1),
                           cudaDeviceReset(),
                           cudaGetDevice(&number),
                           cudaSetDevice(0),
                           cudaDeviceGetAttribute(&number, cudaDevAttrWarpSize, 0),
                           cudaDeviceCanAccessPeer(&number, 0, 0),
                           cudaPointerGetAttributes(&attributes, data),
                           cudaGraphCreate(&graph, 0),
                           cudaDeviceGetDefaultMemPool(&pool, 0),
                           cudaPeekAtLastError()};
      },
      &results));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(std::vector<cudaError_t>(3, cudaSuccess), allowed);
  EXPECT_EQ(std::vector<cudaError_t>(10, cudaErrorNotPermitted), forbidden);
}

TEST_F(Errors, InjectedFaultFailsTheNthLaunch) {
  const cudaStream_t stream = makeStream();
  auto* pointer = makeDevice<char>(16);
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_LAUNCH, 0, 2, 0));
  EXPECT_CUDA(cudaMemsetAsync(pointer, 0, 16, stream));
  EXPECT_EQ(cudaErrorLaunchFailure, cudaMemsetAsync(pointer, 0, 16, stream));
  EXPECT_EQ(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, errorText(0).find("injected fault"));
}

// The workers stay with the parent, so a child can only be told.
TEST_F(Errors, AChildProcessCannotUseDevices) {
  ASSERT_CUDA(cudaStreamSynchronize(makeStream()));
  const pid_t child = fork();
  if (child == 0) {
    void* pointer = nullptr;
    int count = 0;
    const bool right = cudaMalloc(&pointer, 1) == cudaErrorInitializationError &&
                       cudaStreamSynchronize(nullptr) == cudaErrorInitializationError &&
                       cudaGetDeviceCount(&count) == cudaSuccess;
    _exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

TEST_F(Errors, EachHasItsNameAndText) {
  EXPECT_STREQ("cudaSuccess", cudaGetErrorName(cudaSuccess));
  EXPECT_STREQ("cudaErrorIllegalAddress", cudaGetErrorName(cudaErrorIllegalAddress));
  EXPECT_STREQ("cudaErrorUnknown", cudaGetErrorName(cudaErrorUnknown));
  EXPECT_STREQ("cudaErrorApiFailureBase", cudaGetErrorName(cudaErrorApiFailureBase));
  EXPECT_STREQ("not enough memory", cudaGetErrorString(cudaErrorMemoryAllocation));
  EXPECT_STREQ("unrecognized error code", cudaGetErrorName(static_cast<cudaError_t>(12345)));
  EXPECT_STREQ("unrecognized error code", cudaGetErrorString(static_cast<cudaError_t>(-1)));
}

}  // namespace
}  // namespace emu::test
