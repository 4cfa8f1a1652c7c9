// What the tests of capture errors share.
#pragma once

#include "cuda_support.h"

namespace emu::test {

inline constexpr cudaStreamCaptureMode kModes[] = {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal,
                                                   cudaStreamCaptureModeRelaxed};

class CaptureErrorTest : public CudaTest {
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

}  // namespace emu::test
