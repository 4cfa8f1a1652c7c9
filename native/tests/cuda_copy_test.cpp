#include <numeric>

#include "cuda_support.h"

namespace emu::test {
namespace {

class Copy : public CudaTest {
 protected:
  static std::vector<int> read(const int* device, size_t count) {
    std::vector<int> host(count, -1);
    EXPECT_CUDA(cudaMemcpy(host.data(), device, count * sizeof(int), cudaMemcpyDeviceToHost));
    return host;
  }
};

TEST_F(Copy, GoesEveryWay) {
  constexpr size_t kCount = 1000;
  constexpr size_t kBytes = kCount * sizeof(int);
  std::vector<int> numbers(kCount);
  std::iota(numbers.begin(), numbers.end(), 0);
  auto* a = makeDevice<int>(kCount);
  auto* b = makeDevice<int>(kCount);
  void* memory = nullptr;
  ASSERT_CUDA(cudaMallocHost(&memory, kBytes));
  auto* pinned = static_cast<int*>(memory);
  ASSERT_CUDA(cudaMemcpy(a, numbers.data(), kBytes, cudaMemcpyHostToDevice));
  ASSERT_CUDA(cudaMemcpy(b, a, kBytes, cudaMemcpyDeviceToDevice));
  ASSERT_CUDA(cudaMemcpy(pinned, b, kBytes, cudaMemcpyDefault));
  EXPECT_EQ(numbers, std::vector<int>(pinned, pinned + kCount));
  std::vector<int> back(kCount);
  ASSERT_CUDA(cudaMemcpy(back.data(), pinned, kBytes, cudaMemcpyHostToHost));
  EXPECT_EQ(numbers, back);
  ASSERT_CUDA(cudaMemset(b, 0xFF, kBytes));
  EXPECT_EQ(std::vector<int>(kCount, -1), read(b, kCount));
}

TEST_F(Copy, ToAnotherDevice) {
  auto* source = makeDevice<int>(4);
  const std::vector<int> numbers{1, 2, 3, 4};
  ASSERT_CUDA(cudaMemcpy(source, numbers.data(), 16, cudaMemcpyHostToDevice));
  ASSERT_CUDA(cudaSetDevice(1));
  auto* target = makeDevice<int>(4);
  const cudaStream_t stream = makeStream();
  ASSERT_CUDA(cudaMemcpyPeerAsync(target, 1, source, 0, 16, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(numbers, read(target, 4));
  EXPECT_EQ(cudaErrorInvalidDevice, cudaMemcpyPeerAsync(target, 1, source, 64, 16, stream));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpyPeerAsync(target, 1, source, 2, 16, stream));
}

TEST_F(Copy, FromPageableMemoryTakesASnapshot) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<int>(1);
  int value = 1;
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaMemcpyAsync(device, &value, sizeof value, cudaMemcpyHostToDevice, stream));
  value = 2;
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(1, read(device, 1)[0]);
}

TEST_F(Copy, FromPinnedMemoryReadsWhenItRuns) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<int>(1);
  void* memory = nullptr;
  ASSERT_CUDA(cudaMallocHost(&memory, sizeof(int)));
  auto* value = static_cast<int*>(memory);
  *value = 1;
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaMemcpyAsync(device, value, sizeof(int), cudaMemcpyHostToDevice, stream));
  *value = 2;
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(2, read(device, 1)[0]);
}

TEST_F(Copy, ToPageableMemoryIsThereOnReturn) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<int>(1);
  ASSERT_CUDA(cudaMemsetAsync(device, 0xFF, sizeof(int), stream));
  int value = 0;
  ASSERT_CUDA(cudaMemcpyAsync(&value, device, sizeof value, cudaMemcpyDeviceToHost, stream));
  EXPECT_EQ(-1, value);
}

TEST_F(Copy, WrongArgumentsAreRefusedAtTheCall) {
  auto* device = makeDevice<char>(64);
  char host[64] = {};
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(host, host + 8, 8, cudaMemcpyHostToDevice));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(host, device, 8, cudaMemcpyHostToDevice));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(device, host, 8, cudaMemcpyDeviceToHost));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(host, host + 8, 8, cudaMemcpyDeviceToHost));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(host, host + 8, 8, cudaMemcpyDeviceToDevice));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(host, device, 8, cudaMemcpyDeviceToDevice));
  EXPECT_EQ(cudaErrorInvalidMemcpyDirection, cudaMemcpy(host, device, 8, static_cast<cudaMemcpyKind>(9)));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(nullptr, device, 8, cudaMemcpyDefault));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(host, 0, 8));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(nullptr, 0, 8));
  EXPECT_CUDA(cudaMemcpy(nullptr, nullptr, 0, cudaMemcpyHostToDevice));
  EXPECT_CUDA(cudaMemcpy(nullptr, nullptr, 0, static_cast<cudaMemcpyKind>(9)));
  EXPECT_CUDA(cudaMemset(nullptr, 0, 0));
  EXPECT_CUDA(cudaDeviceSynchronize());
}

// Unified addressing: only what must be device memory is looked at.
TEST_F(Copy, WhatShouldBeHostMemoryMayLieAnywhere) {
  auto* device = makeDevice<int>(2);
  int host = 7;
  ASSERT_CUDA(cudaMemcpy(device, &host, sizeof host, cudaMemcpyHostToHost));
  ASSERT_CUDA(cudaMemcpy(device + 1, device, sizeof host, cudaMemcpyHostToDevice));
  EXPECT_EQ(7, read(device, 2)[1]);
  ASSERT_CUDA(cudaMemset(device, 0, sizeof host));
  ASSERT_CUDA(cudaMemcpy(device, device + 1, sizeof host, cudaMemcpyDeviceToHost));
  EXPECT_EQ(7, read(device, 2)[0]);
}

TEST_F(Copy, AnAddressFreedMeanwhileIsAStickyError) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(64);
  void* memory = nullptr;
  ASSERT_CUDA(cudaMallocHost(&memory, 64));
  ASSERT_CUDA(cudaFree(device));
  ASSERT_CUDA(cudaMemcpyAsync(device, memory, 64, cudaMemcpyHostToDevice, stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  const std::string text = errorText(0);
  EXPECT_NE(std::string::npos, text.find("cudaMemcpyAsync: destination")) << text;
  EXPECT_NE(std::string::npos, text.find("freed")) << text;
}

TEST_F(Copy, BeyondTheEndIsRefusedAtTheCall) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(1000);
  std::vector<char> host(1001);
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(device, 0, 1001));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpy(device, host.data(), 1001, cudaMemcpyHostToDevice));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpyAsync(host.data(), device + 1, 1000, cudaMemcpyDeviceToHost, stream));
  EXPECT_CUDA(cudaDeviceSynchronize());
}

// Likewise copies in a capture; but where a captured memset goes is only found at the replay.
TEST_F(Copy, ACapturedMemsetTakesAnyAddress) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(1000);
  char host[2] = {};
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_EQ(cudaErrorInvalidValue, cudaMemcpyAsync(device + 999, host, 2, cudaMemcpyHostToDevice, stream));
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 1001, stream));
  });
  ASSERT_CUDA(cudaGraphLaunch(instantiate(graph), stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, errorText(0).find("1001 bytes do not fit")) << errorText(0);
  ASSERT_CUDA(cudaDeviceReset());
  const cudaStream_t second = makeStream();
  const cudaGraph_t toHost = capture(second, [&] { EXPECT_CUDA(cudaMemsetAsync(host, 0, 2, second)); });
  ASSERT_CUDA(cudaGraphLaunch(instantiate(toHost), second));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(second));
}

}  // namespace
}  // namespace emu::test
