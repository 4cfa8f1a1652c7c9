#include <chrono>

#include "cuda_support.h"

namespace emu::test {
namespace {

class Events : public CudaTest {};

TEST_F(Events, TellWhenTheirStreamGotThere) {
  const cudaStream_t stream = makeStream();
  const cudaEvent_t event = makeEvent();
  EXPECT_CUDA(cudaEventQuery(event));  // never recorded: nothing to wait for
  EXPECT_CUDA(cudaEventSynchronize(event));
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaEventRecord(event, stream));
  EXPECT_EQ(cudaErrorNotReady, cudaEventQuery(event));
  gate.open();
  ASSERT_CUDA(cudaEventSynchronize(event));
  EXPECT_CUDA(cudaEventQuery(event));
}

TEST_F(Events, AreForgottenByTheNextRecording) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t other = makeStream();
  const cudaEvent_t event = makeEvent();
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaEventRecord(event, stream));
  ASSERT_CUDA(cudaStreamWaitEvent(other, event, 0));  // for the recording of now
  ASSERT_CUDA(cudaEventRecord(event, makeStream()));
  EXPECT_CUDA(cudaEventSynchronize(event));
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(other));
  gate.open();
  EXPECT_CUDA(cudaStreamSynchronize(other));
}

TEST_F(Events, OrderStreamsOfTwoDevices) {
  const cudaStream_t first = makeStream();
  const cudaEvent_t event = makeEvent();
  void* memory = nullptr;
  ASSERT_CUDA(cudaMallocHost(&memory, sizeof(int)));
  auto* value = static_cast<volatile int*>(memory);
  *value = 0;
  Gate gate;
  gate.put(first);
  ASSERT_CUDA(cudaLaunchHostFunc(
      first, [](void* data) { *static_cast<volatile int*>(data) = 7; }, memory));
  ASSERT_CUDA(cudaEventRecord(event, first));
  ASSERT_CUDA(cudaSetDevice(1));
  const cudaStream_t second = makeStream();
  auto* copy = makeDevice<int>(1);
  ASSERT_CUDA(cudaStreamWaitEvent(second, event, 0));
  ASSERT_CUDA(cudaMemcpyAsync(copy, memory, sizeof(int), cudaMemcpyHostToDevice, second));
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(second));
  int result = 0;
  ASSERT_CUDA(cudaMemcpy(&result, copy, sizeof result, cudaMemcpyDeviceToHost));
  EXPECT_EQ(7, result);
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventRecord(event, second));
}

TEST_F(Events, MeasureTime) {
  const cudaStream_t stream = makeStream();
  const cudaEvent_t start = makeEvent(cudaEventDefault);
  const cudaEvent_t end = makeEvent(cudaEventBlockingSync);
  float ms = -1;
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&ms, start, end));
  ASSERT_CUDA(cudaEventRecord(start, stream));
  ASSERT_CUDA(cudaEventSynchronize(start));
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaEventRecord(end, stream));
  EXPECT_EQ(cudaErrorNotReady, cudaEventElapsedTime(&ms, start, end));
  const uint64_t from = now();
  while (now() - from < 10'000'000) std::this_thread::yield();
  gate.open();
  ASSERT_CUDA(cudaEventSynchronize(end));
  ASSERT_CUDA(cudaEventElapsedTime(&ms, start, end));
  EXPECT_GE(ms, 10.0F);
  EXPECT_LT(ms, 60'000.0F);
  ASSERT_CUDA(cudaEventElapsedTime(&ms, end, start));
  EXPECT_LE(ms, -10.0F);
  const cudaEvent_t untimed = makeEvent(cudaEventDisableTiming);
  ASSERT_CUDA(cudaEventRecord(untimed, stream));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&ms, start, untimed));
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventElapsedTime(nullptr, start, end));
}

TEST_F(Events, RefuseWhatIsNotValid) {
  cudaEvent_t event = nullptr;
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventCreate(nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventCreateWithFlags(&event, 8));
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventCreateWithFlags(&event, cudaEventInterprocess));
  EXPECT_CUDA(cudaEventCreateWithFlags(&event, cudaEventInterprocess | cudaEventDisableTiming));
  const cudaStream_t stream = makeStream();
  const cudaEvent_t destroyed = makeEvent();
  ASSERT_CUDA(cudaEventDestroy(destroyed));
  for (const cudaEvent_t wrong : {cudaEvent_t{nullptr}, destroyed, reinterpret_cast<cudaEvent_t>(stream)}) {
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventRecord(wrong, stream));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventQuery(wrong));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventSynchronize(wrong));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventDestroy(wrong));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamWaitEvent(stream, wrong, 0));
  }
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamWaitEvent(stream, makeEvent(), 2));
  EXPECT_EQ(cudaErrorInvalidValue, cudaEventRecordWithFlags(makeEvent(), stream, 2));
}

TEST_F(Events, CanBeDestroyedBeforeTheyAreReached) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t other = makeStream();
  const cudaEvent_t event = makeEvent();
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaEventRecord(event, stream));
  ASSERT_CUDA(cudaStreamWaitEvent(other, event, 0));
  ASSERT_CUDA(cudaEventDestroy(event));
  EXPECT_EQ(0U, usage(0).events);
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(other));
  gate.open();
  EXPECT_CUDA(cudaStreamSynchronize(other));
}

}  // namespace
}  // namespace emu::test
