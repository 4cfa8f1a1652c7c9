// Captures that are begun, joined and ended wrongly, and which error that gives: the answers of an H200 with driver
// 580.
#include "cuda_capture_support.h"

namespace emu::test {
namespace {

class CaptureErrors : public CaptureErrorTest {};

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
