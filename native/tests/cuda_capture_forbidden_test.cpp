// What must not be called during a capture, and what may: the answers of an H200 with driver 580.
#include <string>

#include "cuda_capture_support.h"

namespace emu::test {
namespace {

class CaptureForbids : public CaptureErrorTest {};

TEST_F(CaptureForbids, WaitingForACapturingStream) {
  for (const cudaStreamCaptureMode mode : kModes) {
    const cudaStream_t stream = makeStream();
    ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
    EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(stream));
    EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamQuery(stream)) << "again";
    expectInvalidated(stream);
    ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
    EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamQuery(stream));
    expectInvalidated(stream);
    ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
    EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaDeviceSynchronize());
    expectInvalidated(stream);
    // Of another device: that is no wait for the capture.
    ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
    ASSERT_CUDA(cudaSetDevice(1));
    EXPECT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(cudaSetDevice(0));
    EXPECT_CUDA(end(stream));
  }
}

TEST_F(CaptureForbids, WhatCannotBecomeANode) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(64);
  const cudaGraphExec_t exec = instantiate(capture(stream, [&] { EXPECT_CUDA(cudaMemsetAsync(device, 0, 64, stream)); }));
  const std::vector<std::function<cudaError_t()>> calls = {
      [&] { return cudaGraphLaunch(exec, stream); },
      [&] { return cudaGraphUpload(exec, stream); },
      [&] { return cudaMemcpyPeerAsync(device, 0, device + 32, 0, 32, stream); },
  };
  for (const cudaStreamCaptureMode mode : kModes) {
    for (const auto& call : calls) {
      ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
      EXPECT_CUDA(cudaMemcpyPeerAsync(device, 0, device + 32, 0, 0, stream)) << "nothing";
      EXPECT_EQ(cudaErrorStreamCaptureUnsupported, call());
      EXPECT_EQ(cudaErrorStreamCaptureUnsupported, call()) << "again";
      expectInvalidated(stream);
    }
  }
}

TEST_F(CaptureForbids, UseOfTheLegacyStreamBesideABlockingOne) {
  const cudaStream_t blocking = makeStream(cudaStreamDefault);
  const cudaStream_t free = makeStream(cudaStreamNonBlocking);
  const cudaEvent_t event = makeEvent();
  const cudaEvent_t captured = makeEvent();
  auto* device = makeDevice<char>(4);
  char host[4] = {};
  int number = 0;
  unsigned flags = 0;
  unsigned long long id = 0;
  void* pooled = nullptr;
  const cudaGraphExec_t exec = instantiate(capture(free, [] {}));
  const std::vector<std::function<cudaError_t()>> uses = {
      [&] { return cudaMemsetAsync(device, 0, 4, nullptr); },
      [&] { return cudaMemcpy(device, host, 4, cudaMemcpyHostToDevice); },
      [&] { return cudaMemcpy(nullptr, host, 4, cudaMemcpyHostToDevice); },
      [&] { return cudaMemset(device, 0, 4); },
      [&] { return cudaMallocAsync(&pooled, 4, nullptr); },
      [&] { return cudaMallocAsync(&pooled, 0, nullptr); },
      [&] { return cudaFreeAsync(nullptr, nullptr); },
      [&] { return cudaGraphLaunch(exec, nullptr); },
      [&] { return cudaStreamGetFlags(nullptr, &flags); },
      [&] { return cudaStreamGetPriority(nullptr, &number); },
      [&] { return cudaStreamGetDevice(nullptr, &number); },
      [&] { return cudaStreamGetId(nullptr, &id); },
      [&] { return cudaEventRecord(event, nullptr); },
      [&] { return cudaStreamWaitEvent(cudaStreamLegacy, event, 0); },
      [&] { return cudaStreamSynchronize(nullptr); },
      [&] { return cudaStreamQuery(nullptr); },
      [&] { return cudaLaunchHostFunc(nullptr, [](void*) {}, nullptr); },
      [&] {
        EXPECT_CUDA(cudaEventRecord(captured, blocking));
        return cudaStreamWaitEvent(nullptr, captured, 0);
      },
  };
  for (const cudaStreamCaptureMode mode : kModes) {
    for (size_t i = 0; i < uses.size(); ++i) {
      ASSERT_CUDA(cudaStreamBeginCapture(blocking, mode));
      EXPECT_EQ(cudaErrorStreamCaptureImplicit, uses[i]()) << i;
      expectInvalidated(blocking);
    }
    ASSERT_CUDA(cudaStreamBeginCapture(blocking, mode));
    cudaStreamCaptureStatus status;
    EXPECT_EQ(cudaErrorStreamCaptureImplicit, cudaStreamIsCapturing(nullptr, &status));
    EXPECT_CUDA(cudaMemcpy(nullptr, host, 0, cudaMemcpyHostToDevice));
    EXPECT_EQ(cudaErrorInvalidValue, cudaStreamGetFlags(nullptr, nullptr));
    EXPECT_CUDA(end(blocking)) << "none of that does harm";
    // A non-blocking stream has nothing to do with the legacy stream: synchronous copies are not unsafe either.
    ASSERT_CUDA(cudaStreamBeginCapture(free, mode));
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 4, nullptr));
    EXPECT_CUDA(cudaMemcpy(device, host, 4, cudaMemcpyHostToDevice));
    EXPECT_CUDA(cudaMemset(device, 0, 4));
    EXPECT_CUDA(cudaStreamGetFlags(nullptr, &flags));
    EXPECT_CUDA(end(free));
  }
}

// Calls that are potentially unsafe during a capture.
struct UnsafeCall {
  const char* name;
  std::function<cudaError_t()> call;
};

// In an order in which each can follow the others again and again.
std::vector<UnsafeCall> unsafeCalls() {
  static void* device;
  static void* pinned;
  static char host[4096];
  static cudaEvent_t event;
  static cudaStream_t eager;
  static void* pooled;
  static void* nothing;
  static cudaMemPool_t pool;
  static cudaGraph_t graph;
  static cudaGraphExec_t exec;
  static uint64_t threshold;
  EXPECT_CUDA(cudaMalloc(&device, 16));
  EXPECT_CUDA(cudaMallocHost(&pinned, 16));
  EXPECT_CUDA(cudaEventCreate(&event));
  EXPECT_CUDA(cudaStreamCreateWithFlags(&eager, cudaStreamNonBlocking));
  EXPECT_CUDA(cudaMallocAsync(&pooled, 16, eager));
  EXPECT_CUDA(cudaDeviceGetDefaultMemPool(&pool, 0));
  EXPECT_CUDA(cudaGraphCreate(&graph, 0));
  EXPECT_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  return {
      {"cudaMalloc", [] { return cudaMalloc(&device, 16); }},
      {"cudaFree", [] { return cudaFree(device); }},
      {"cudaMallocHost", [] { return cudaMallocHost(&pinned, 16); }},
      {"cudaHostAlloc", [] { return cudaHostAlloc(&pinned, 16, 0); }},
      {"cudaFreeHost", [] { return cudaFreeHost(pinned); }},
      {"cudaHostRegister", [] { return cudaHostRegister(host, sizeof host, 0); }},
      {"cudaHostUnregister", [] { return cudaHostUnregister(host); }},
      {"cudaEventQuery", [] { return cudaEventQuery(event); }},
      {"cudaEventSynchronize", [] { return cudaEventSynchronize(event); }},
      {"cudaStreamQuery", [] { return cudaStreamQuery(cudaStreamPerThread); }},
      {"cudaStreamSynchronize", [] { return cudaStreamSynchronize(eager); }},
      {"cudaMallocAsync", [] { return cudaMallocAsync(&pooled, 16, eager); }},
      {"cudaFreeAsync", [] { return cudaFreeAsync(pooled, eager); }},
      {"cudaMallocAsync of nothing", [] { return cudaMallocAsync(&nothing, 0, eager); }},
      {"cudaFreeAsync of nothing", [] { return cudaFreeAsync(nullptr, eager); }},
      {"cudaMemPoolGetAttribute",
       [] { return cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold); }},
      {"cudaMemPoolSetAttribute",
       [] { return cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold); }},
      {"cudaMemPoolTrimTo", [] { return cudaMemPoolTrimTo(pool, 0); }},
      {"cudaGraphInstantiate", [] { return cudaGraphInstantiate(&exec, graph, 0); }},
      {"cudaGraphExecDestroy", [] { return cudaGraphExecDestroy(exec); }},
      {"cudaProfilerStart", [] { return cudaProfilerStart(); }},
      {"cudaProfilerStop", [] { return cudaProfilerStop(); }},
  };
}

TEST_F(CaptureForbids, PotentiallyUnsafeCallsByMode) {
  const auto calls = unsafeCalls();
  // Whether a thread of mode `threads` may make unsafe calls while a capture of mode `captures` runs in it or in
  // another one.
  const auto allowed = [](cudaStreamCaptureMode threads, cudaStreamCaptureMode captures, bool same) {
    if (threads == cudaStreamCaptureModeRelaxed) return true;
    if (same) return captures == cudaStreamCaptureModeRelaxed;
    return threads == cudaStreamCaptureModeThreadLocal || captures != cudaStreamCaptureModeGlobal;
  };
  for (const cudaStreamCaptureMode captureMode : kModes) {
    for (const cudaStreamCaptureMode threadMode : kModes) {
      for (const bool same : {true, false}) {
        for (const UnsafeCall& unsafe : calls) {
          const cudaStream_t stream = makeStream();
          cudaError_t result = cudaErrorUnknown;
          const auto call = [&] {
            cudaStreamCaptureMode mode = threadMode;
            EXPECT_CUDA(cudaThreadExchangeStreamCaptureMode(&mode));
            EXPECT_EQ(cudaStreamCaptureModeGlobal, mode);
            result = unsafe.call();
            EXPECT_CUDA(cudaThreadExchangeStreamCaptureMode(&mode));
            EXPECT_EQ(threadMode, mode);
          };
          ASSERT_CUDA(cudaStreamBeginCapture(stream, captureMode));
          if (same) {
            call();
          } else {
            elsewhere(call);
          }
          SCOPED_TRACE(std::string(unsafe.name) + ", capture mode " + std::to_string(captureMode) + ", thread mode " +
                       std::to_string(threadMode) + (same ? ", same thread" : ", other thread"));
          if (allowed(threadMode, captureMode, same)) {
            EXPECT_CUDA(result);
            EXPECT_CUDA(end(stream));
          } else {
            EXPECT_EQ(cudaErrorStreamCaptureUnsupported, result);
            expectInvalidated(stream);
          }
        }
      }
    }
  }
}

TEST_F(CaptureForbids, NoSafeCall) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t eager = makeStream();
  auto* device = makeDevice<char>(16);
  char host[16] = {};
  void* memory = nullptr;
  ASSERT_CUDA(cudaMallocHost(&memory, 16));
  const cudaGraph_t graph = capture(stream, [] {});
  const cudaGraphExec_t exec = instantiate(graph);
  const cudaEvent_t event = makeEvent(cudaEventDefault);
  ASSERT_CUDA(cudaEventRecord(event, eager));
  ASSERT_CUDA(cudaEventSynchronize(event));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  size_t free = 0;
  size_t total = 0;
  float ms = 0;
  cudaPointerAttributes attributes;
  EXPECT_CUDA(cudaMemGetInfo(&free, &total));
  EXPECT_CUDA(cudaPointerGetAttributes(&attributes, device));
  EXPECT_CUDA(cudaHostGetDevicePointer(&memory, memory, 0));
  EXPECT_CUDA(cudaMemsetAsync(device, 0, 16, eager));
  EXPECT_CUDA(cudaMemcpyAsync(device, host, 16, cudaMemcpyHostToDevice, eager));
  EXPECT_CUDA(cudaMemcpyAsync(host, device, 16, cudaMemcpyDeviceToHost, eager));
  EXPECT_CUDA(cudaStreamDestroy(makeStream()));
  EXPECT_CUDA(cudaEventDestroy(makeEvent()));
  EXPECT_CUDA(cudaEventElapsedTime(&ms, event, event));
  EXPECT_CUDA(cudaStreamWaitEvent(eager, event, 0));
  EXPECT_CUDA(cudaGraphUpload(exec, eager));
  EXPECT_CUDA(cudaGraphLaunch(exec, eager));
  EXPECT_CUDA(cudaGraphExecUpdate(exec, graph, nullptr));
  // Nothing is asked for, or what is asked for is wrong.
  void* nothing = nullptr;
  EXPECT_CUDA(cudaMalloc(&nothing, 0));
  EXPECT_CUDA(cudaMallocHost(&nothing, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMalloc(nullptr, 4));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMallocAsync(nullptr, 4, eager));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventQuery(nullptr));
  cudaGraphExec_t uploaded = nullptr;
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphInstantiate(&uploaded, graph, cudaGraphInstantiateFlagUpload));
  EXPECT_CUDA(end(stream));
}

}  // namespace
}  // namespace emu::test
