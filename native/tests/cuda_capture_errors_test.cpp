// What a capture forbids, and which error each mistake gives: the answers of an H200 with driver 580.
#include <string>

#include "cuda_support.h"

namespace emu::test {
namespace {

constexpr cudaStreamCaptureMode kModes[] = {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal,
                                            cudaStreamCaptureModeRelaxed};

class CaptureErrors : public CudaTest {
 protected:
  // Ends the capture; the graph must come with success and with nothing else.
  static cudaError_t end(cudaStream_t stream) {
    auto graph = reinterpret_cast<cudaGraph_t>(1);
    const cudaError_t result = cudaStreamEndCapture(stream, &graph);
    EXPECT_EQ(result == cudaSuccess, graph != nullptr);
    return result;
  }

  static void expectInvalidated(cudaStream_t stream) {
    EXPECT_EQ(cudaStreamCaptureStatusInvalidated, captureStatus(stream));
    EXPECT_EQ(cudaErrorStreamCaptureInvalidated, cudaLaunchHostFunc(stream, [](void*) {}, nullptr));
    EXPECT_EQ(cudaErrorStreamCaptureInvalidated, end(stream));
    EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(stream));
    EXPECT_CUDA(cudaStreamSynchronize(stream));
  }
};

TEST_F(CaptureErrors, BeginRefusesWhatCannotCapture) {
  EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal));
  EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamBeginCapture(cudaStreamLegacy, cudaStreamCaptureModeRelaxed));
  const cudaStream_t stream = makeStream();
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamBeginCapture(stream, static_cast<cudaStreamCaptureMode>(3)));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  EXPECT_EQ(cudaErrorIllegalState, cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  EXPECT_CUDA(end(stream));
}

TEST_F(CaptureErrors, EndRefusesWhatDoesNotCapture) {
  const cudaStream_t stream = makeStream();
  EXPECT_EQ(cudaErrorIllegalState, end(stream));
  EXPECT_EQ(cudaErrorIllegalState, end(nullptr));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  EXPECT_CUDA(cudaStreamEndCapture(stream, nullptr)) << "the graph is dropped";
  EXPECT_EQ(cudaErrorIllegalState, end(stream));
  EXPECT_EQ(0U, usage(0).graphs);
}

TEST_F(CaptureErrors, WaitingForACapturingStreamIsUnsupported) {
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

TEST_F(CaptureErrors, CapturedEventsCannotBeAsked) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t eager = makeStream();
  const cudaEvent_t event = makeEvent(cudaEventDefault);
  const cudaEvent_t other = makeEvent(cudaEventDefault);
  ASSERT_CUDA(cudaEventRecord(other, eager));
  float ms = 0;
  for (const cudaStreamCaptureMode mode : kModes) {
    for (const bool query : {true, false}) {
      ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
      ASSERT_CUDA(cudaEventRecord(event, stream));
      EXPECT_EQ(cudaErrorCapturedEvent, cudaEventElapsedTime(&ms, other, event)) << "which does no harm";
      EXPECT_EQ(cudaStreamCaptureStatusActive, captureStatus(stream));
      EXPECT_EQ(cudaErrorCapturedEvent, query ? cudaEventQuery(event) : cudaEventSynchronize(event));
      EXPECT_EQ(cudaErrorInvalidValue, cudaEventQuery(event)) << "of a broken capture";
      expectInvalidated(stream);
    }
  }
}

TEST_F(CaptureErrors, EventsOfAnEndedCaptureAreWorthNothing) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t eager = makeStream();
  const cudaEvent_t event = makeEvent(cudaEventDefault);
  const cudaEvent_t other = makeEvent(cudaEventDefault);
  ASSERT_CUDA(cudaEventRecord(other, eager));
  float ms = 0;
  capture(stream, [&] { EXPECT_CUDA(cudaEventRecord(event, stream)); });
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventQuery(event));
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventSynchronize(event));
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventElapsedTime(&ms, other, event));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamWaitEvent(eager, event, 0));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamWaitEvent(stream, event, 0));
  expectInvalidated(stream);
  // Until it is recorded anew.
  ASSERT_CUDA(cudaEventRecord(event, eager));
  EXPECT_CUDA(cudaEventSynchronize(event));
  EXPECT_CUDA(cudaEventElapsedTime(&ms, other, event));
}

TEST_F(CaptureErrors, EventsOfABrokenCaptureAreWorthNothing) {
  const cudaStream_t broken = makeStream();
  const cudaStream_t stream = makeStream();
  const cudaEvent_t event = makeEvent();
  ASSERT_CUDA(cudaStreamBeginCapture(broken, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(cudaEventRecord(event, broken));
  EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(broken));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamWaitEvent(stream, event, 0));
  EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(stream));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamWaitEvent(stream, event, 0));
  expectInvalidated(stream);
  expectInvalidated(broken);
}

TEST_F(CaptureErrors, WhatCannotBecomeANodeBreaksTheCapture) {
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

TEST_F(CaptureErrors, OnlyTheOriginEndsACapture) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t fork = makeStream();
  const cudaEvent_t event = makeEvent();
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(cudaEventRecord(event, stream));
  ASSERT_CUDA(cudaStreamWaitEvent(fork, event, 0));
  EXPECT_EQ(cudaErrorStreamCaptureUnmatched, end(fork));
  EXPECT_EQ(cudaStreamCaptureStatusInvalidated, captureStatus(fork));
  expectInvalidated(stream);
  EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(fork));
}

TEST_F(CaptureErrors, NothingIsNoNode) {
  const cudaStream_t stream = makeStream();
  const cudaGraph_t graph = capture(stream, [&] {
    void* nothing = stream;
    EXPECT_CUDA(cudaMallocAsync(&nothing, 0, stream));
    EXPECT_EQ(nullptr, nothing);
    EXPECT_CUDA(cudaFreeAsync(nullptr, stream));
    EXPECT_CUDA(cudaMemsetAsync(nullptr, 0, 0, stream));
  });
  size_t nodes = 9;
  ASSERT_CUDA(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(0U, nodes);
}

TEST_F(CaptureErrors, OnlyItsThreadEndsACaptureUnlessRelaxed) {
  for (const cudaStreamCaptureMode mode : kModes) {
    const cudaStream_t stream = makeStream();
    ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
    cudaError_t result = cudaSuccess;
    elsewhere([&] { result = end(stream); });
    if (mode == cudaStreamCaptureModeRelaxed) {
      EXPECT_CUDA(result);
    } else {
      EXPECT_EQ(cudaErrorStreamCaptureWrongThread, result);
      EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(stream)) << "it is over all the same";
      EXPECT_EQ(cudaErrorIllegalState, end(stream));
    }
  }
}

TEST_F(CaptureErrors, UnjoinedWorkIsFound) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t fork = makeStream();
  const cudaEvent_t event = makeEvent();
  auto* device = makeDevice<char>(4);
  const auto forkNow = [&] {
    ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    ASSERT_CUDA(cudaMemsetAsync(device, 0, 4, stream));
    ASSERT_CUDA(cudaEventRecord(event, stream));
    ASSERT_CUDA(cudaStreamWaitEvent(fork, event, 0));
  };
  const auto join = [&] {
    ASSERT_CUDA(cudaEventRecord(event, fork));
    ASSERT_CUDA(cudaStreamWaitEvent(stream, event, 0));
  };
  forkNow();
  EXPECT_CUDA(end(stream)) << "a fork without work needs no join";
  forkNow();
  ASSERT_CUDA(cudaMemsetAsync(device, 0, 4, fork));
  EXPECT_EQ(cudaErrorStreamCaptureUnjoined, end(stream));
  EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(fork));
  forkNow();
  ASSERT_CUDA(cudaMemsetAsync(device, 0, 4, fork));
  join();
  ASSERT_CUDA(cudaMemsetAsync(device, 0, 4, fork));  // behind the join
  EXPECT_EQ(cudaErrorStreamCaptureUnjoined, end(stream));
  forkNow();
  ASSERT_CUDA(cudaMemsetAsync(device, 0, 4, fork));
  join();
  EXPECT_CUDA(end(stream));
  EXPECT_CUDA(cudaMemsetAsync(device, 0, 4, fork));
}

TEST_F(CaptureErrors, UncapturedWorkMustStayOutside) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t eager = makeStream();
  const cudaEvent_t event = makeEvent();
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  EXPECT_CUDA(cudaStreamWaitEvent(stream, event, 0)) << "never recorded: no dependency";
  ASSERT_CUDA(cudaEventRecord(event, eager));
  EXPECT_EQ(cudaErrorStreamCaptureIsolation, cudaStreamWaitEvent(stream, event, 0));
  expectInvalidated(stream);
}

TEST_F(CaptureErrors, TwoCapturesMustNotMerge) {
  const cudaStream_t a = makeStream();
  const cudaStream_t b = makeStream();
  const cudaEvent_t event = makeEvent();
  ASSERT_CUDA(cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(cudaStreamBeginCapture(b, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(cudaEventRecord(event, a));
  EXPECT_EQ(cudaErrorStreamCaptureMerge, cudaStreamWaitEvent(b, event, 0));
  expectInvalidated(a);
  expectInvalidated(b);
}

TEST_F(CaptureErrors, TheLegacyStreamMustNotBecomePartOfACapture) {
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

TEST_F(CaptureErrors, PotentiallyUnsafeCallsAreForbiddenByMode) {
  const auto calls = unsafeCalls();
  // Whether a thread of mode `threads` may make unsafe calls while a capture of mode `captures` runs in it or in another one.
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

TEST_F(CaptureErrors, SafeCallsAreNeverForbidden) {
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

TEST_F(CaptureErrors, ExchangeRefusesWhatIsNoMode) {
  auto mode = static_cast<cudaStreamCaptureMode>(7);
  EXPECT_EQ(cudaErrorInvalidValue, cudaThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(cudaErrorInvalidValue, cudaThreadExchangeStreamCaptureMode(nullptr));
}

TEST_F(CaptureErrors, DestroyedStreamsLeaveTheirCapture) {
  auto* device = makeDevice<char>(16);
  const cudaEvent_t event = makeEvent();
  cudaStream_t stream = makeStream();
  cudaStream_t fork = makeStream();
  const auto forkNow = [&] {
    ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    ASSERT_CUDA(cudaEventRecord(event, stream));
    ASSERT_CUDA(cudaStreamWaitEvent(fork, event, 0));
    ASSERT_CUDA(cudaMemsetAsync(device, 0, 16, fork));
  };
  forkNow();
  EXPECT_CUDA(cudaStreamDestroy(fork));
  EXPECT_EQ(cudaErrorStreamCaptureUnjoined, end(stream));
  fork = makeStream();
  forkNow();
  ASSERT_CUDA(cudaEventRecord(event, fork));
  ASSERT_CUDA(cudaStreamWaitEvent(stream, event, 0));
  EXPECT_CUDA(cudaStreamDestroy(fork));
  EXPECT_CUDA(end(stream));
  fork = makeStream();
  forkNow();
  EXPECT_CUDA(cudaStreamDestroy(stream));
  EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(fork));
  void* pointer = nullptr;
  EXPECT_CUDA(cudaMalloc(&pointer, 16)) << "the capture is over";
}

TEST_F(CaptureErrors, ResetEndsCaptures) {
  const cudaStream_t stream = makeStream();
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  ASSERT_CUDA(cudaDeviceReset());
  void* pointer = nullptr;
  EXPECT_CUDA(cudaMalloc(&pointer, 16));
  EXPECT_EQ(0U, usage(0).graphs);
}

}  // namespace
}  // namespace emu::test
