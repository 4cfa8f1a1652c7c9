// What a capture forbids, and which error each mistake gives.
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
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamEndCapture(stream, nullptr));
  EXPECT_CUDA(end(stream));
}

TEST_F(CaptureErrors, WaitingForACapturingStreamIsUnsupported) {
  for (const cudaStreamCaptureMode mode : kModes) {
    const cudaStream_t stream = makeStream();
    ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
    EXPECT_EQ(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(stream));
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
    for (int i = 0; i < 3; ++i) {
      ASSERT_CUDA(cudaStreamBeginCapture(stream, mode));
      ASSERT_CUDA(cudaEventRecord(event, stream));
      const cudaError_t result = i == 0   ? cudaEventQuery(event)
                                 : i == 1 ? cudaEventSynchronize(event)
                                          : cudaEventElapsedTime(&ms, other, event);
      EXPECT_EQ(cudaErrorCapturedEvent, result);
      expectInvalidated(stream);
    }
  }
  // Nor afterwards, until it is recorded anew.
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(cudaEventRecord(event, stream));
  ASSERT_CUDA(end(stream));
  EXPECT_EQ(cudaErrorCapturedEvent, cudaEventSynchronize(event));
  EXPECT_EQ(cudaErrorCapturedEvent, cudaStreamWaitEvent(eager, event, 0));
  ASSERT_CUDA(cudaEventRecord(event, eager));
  EXPECT_CUDA(cudaEventSynchronize(event));
}

TEST_F(CaptureErrors, OnlyTheOriginEndsACapture) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t fork = makeStream();
  const cudaEvent_t event = makeEvent();
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(cudaEventRecord(event, stream));
  ASSERT_CUDA(cudaStreamWaitEvent(fork, event, 0));
  EXPECT_EQ(cudaErrorStreamCaptureUnmatched, end(fork));
  EXPECT_CUDA(end(stream));
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
      EXPECT_CUDA(end(stream));
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
  const std::vector<std::function<cudaError_t()>> uses = {
      [&] { return cudaMemsetAsync(device, 0, 4, nullptr); },
      [&] { return cudaMemcpy(device, host, 4, cudaMemcpyHostToDevice); },
      [&] { return cudaMemset(device, 0, 4); },
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
    EXPECT_CUDA(end(blocking)) << "a question does no harm";
    // A non-blocking stream has nothing to do with the legacy stream.
    ASSERT_CUDA(cudaStreamBeginCapture(free, mode));
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 4, nullptr));
    EXPECT_CUDA(cudaStreamSynchronize(nullptr));
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
  EXPECT_CUDA(cudaMalloc(&device, 16));
  EXPECT_CUDA(cudaMallocHost(&pinned, 16));
  EXPECT_CUDA(cudaEventCreate(&event));
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
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  size_t free = 0;
  size_t total = 0;
  void* pooled = nullptr;
  cudaPointerAttributes attributes;
  EXPECT_CUDA(cudaMemGetInfo(&free, &total));
  EXPECT_CUDA(cudaPointerGetAttributes(&attributes, device));
  EXPECT_CUDA(cudaMallocAsync(&pooled, 16, eager));
  EXPECT_CUDA(cudaMemsetAsync(pooled, 0, 16, eager));
  EXPECT_CUDA(cudaFreeAsync(pooled, eager));
  EXPECT_CUDA(cudaStreamDestroy(makeStream()));
  EXPECT_CUDA(cudaEventDestroy(makeEvent()));
  EXPECT_CUDA(cudaStreamSynchronize(eager));
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
