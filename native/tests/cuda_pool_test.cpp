// Stream-ordered memory, eager and in graphs.
#include "cuda_support.h"

namespace emu::test {
namespace {

class Pool : public CudaTest {
 protected:
  static uint64_t attribute(cudaMemPoolAttr attr) {
    cudaMemPool_t pool = nullptr;
    EXPECT_CUDA(cudaDeviceGetDefaultMemPool(&pool, 0));
    uint64_t value = 0;
    EXPECT_CUDA(cudaMemPoolGetAttribute(pool, attr, &value));
    return value;
  }
};

TEST_F(Pool, FreesInStreamOrder) {
  const cudaStream_t stream = makeStream();
  void* pointer = nullptr;
  ASSERT_CUDA(cudaMallocAsync(&pointer, 1000, stream));
  EXPECT_EQ(1000U, attribute(cudaMemPoolAttrUsedMemCurrent));
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaMemsetAsync(pointer, 1, 1000, stream));
  ASSERT_CUDA(cudaFreeAsync(pointer, stream));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFreeAsync(pointer, stream));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(pointer));
  EXPECT_EQ(1U, usage(0).device_allocations);
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(0U, usage(0).device_allocations);
  EXPECT_EQ(0U, attribute(cudaMemPoolAttrUsedMemCurrent));
  EXPECT_EQ(1000U, attribute(cudaMemPoolAttrUsedMemHigh));
  EXPECT_CUDA(cudaFreeAsync(nullptr, stream));
  // Either kind of memory may be freed either way.
  ASSERT_CUDA(cudaMallocAsync(&pointer, 1000, stream));
  EXPECT_CUDA(cudaFree(pointer));
  ASSERT_CUDA(cudaMalloc(&pointer, 1000));
  EXPECT_CUDA(cudaFreeAsync(pointer, stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(0U, usage(0).device_allocations);
}

TEST_F(Pool, UseBehindTheFreeIsAnIllegalAddress) {
  const cudaStream_t stream = makeStream();
  void* pointer = nullptr;
  ASSERT_CUDA(cudaMallocAsync(&pointer, 1000, stream));
  ASSERT_CUDA(cudaFreeAsync(pointer, stream));
  ASSERT_CUDA(cudaMemsetAsync(pointer, 1, 1000, stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, errorText(0).find("by cudaFreeAsync"));
}

TEST_F(Pool, HasAttributes) {
  cudaMemPool_t pool = nullptr;
  EXPECT_EQ(cudaErrorInvalidDevice, cudaDeviceGetDefaultMemPool(&pool, 64));
  ASSERT_CUDA(cudaDeviceGetDefaultMemPool(&pool, 3));
  uint64_t threshold = 12345;
  ASSERT_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  threshold = 0;
  ASSERT_CUDA(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  EXPECT_EQ(12345U, threshold);
  threshold = 0;
  ASSERT_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  int reuse = 7;
  ASSERT_CUDA(cudaMemPoolGetAttribute(pool, cudaMemPoolReuseAllowOpportunistic, &reuse));
  EXPECT_EQ(1, reuse);
  uint64_t five = 5;
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemPoolSetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &five));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemPoolSetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &five));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemPoolGetAttribute(pool, static_cast<cudaMemPoolAttr>(99), &five));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemPoolTrimTo(nullptr, 0));
  EXPECT_CUDA(cudaMemPoolTrimTo(pool, 0));
}

TEST_F(Pool, ReservesWholeChunks) {
  constexpr uint64_t kChunk = uint64_t{32} << 20;
  const cudaStream_t stream = makeStream();
  void* small = nullptr;
  void* large = nullptr;
  EXPECT_EQ(0U, attribute(cudaMemPoolAttrReservedMemCurrent));
  ASSERT_CUDA(cudaMallocAsync(&small, 1000, stream));
  EXPECT_EQ(kChunk, attribute(cudaMemPoolAttrReservedMemCurrent));
  ASSERT_CUDA(cudaMallocAsync(&large, kChunk, stream));
  EXPECT_EQ(2 * kChunk, attribute(cudaMemPoolAttrReservedMemCurrent));
  ASSERT_CUDA(cudaFreeAsync(small, stream));
  ASSERT_CUDA(cudaFreeAsync(large, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(0U, attribute(cudaMemPoolAttrReservedMemCurrent));
  EXPECT_EQ(2 * kChunk, attribute(cudaMemPoolAttrReservedMemHigh));
}

TEST_F(Pool, GraphsAllocateAndFree) {
  const cudaStream_t stream = makeStream();
  void* pointer = nullptr;
  auto* out = makeDevice<char>(16);
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_CUDA(cudaMallocAsync(&pointer, 16, stream));
    EXPECT_CUDA(cudaMemsetAsync(pointer, 9, 16, stream));
    EXPECT_CUDA(cudaMemcpyAsync(out, pointer, 16, cudaMemcpyDefault, stream));
    EXPECT_CUDA(cudaFreeAsync(pointer, stream));
  });
  EXPECT_EQ(1U, usage(0).device_allocations);
  const cudaGraphExec_t exec = instantiate(graph);
  for (int i = 0; i < 3; ++i) ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  char value = 0;
  ASSERT_CUDA(cudaMemcpy(&value, out, 1, cudaMemcpyDeviceToHost));
  EXPECT_EQ(9, value);
  EXPECT_EQ(1U, usage(0).device_allocations);
  // One executable form only, and no copies; but it may be updated.
  cudaGraphExec_t second = nullptr;
  cudaGraph_t copy = nullptr;
  cudaGraphNode_t node = nullptr;
  cudaGraphExecUpdateResultInfo info{};
  EXPECT_EQ(cudaErrorNotSupported, cudaGraphInstantiate(&second, graph, 0));
  EXPECT_EQ(cudaErrorNotSupported, cudaGraphClone(&copy, graph));
  ASSERT_CUDA(cudaGraphCreate(&copy, 0));
  EXPECT_EQ(cudaErrorNotSupported, cudaGraphAddChildGraphNode(&node, copy, nullptr, 0, graph));
  EXPECT_CUDA(cudaGraphExecUpdate(exec, graph, &info));
  EXPECT_CUDA(cudaGraphExecUpdate(exec, capture(stream, [&] {
    EXPECT_CUDA(cudaMallocAsync(&pointer, 1024, stream));
    EXPECT_CUDA(cudaMemsetAsync(pointer, 8, 1024, stream));
    EXPECT_CUDA(cudaMemcpyAsync(out, static_cast<char*>(pointer) + 1000, 16, cudaMemcpyDefault, stream));
    EXPECT_CUDA(cudaFreeAsync(pointer, stream));
  }), &info));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaMemcpyAsync(&value, out, 1, cudaMemcpyDeviceToHost, stream));
  EXPECT_EQ(8, value);
  ASSERT_CUDA(cudaGraphExecDestroy(exec));
  EXPECT_CUDA(cudaGraphInstantiate(&second, graph, 0));
}

TEST_F(Pool, WhatAGraphLeavesAllocatedMustBeFreedBeforeTheNextLaunch) {
  const cudaStream_t stream = makeStream();
  void* pointer = nullptr;
  const cudaGraph_t graph = capture(stream, [&] { EXPECT_CUDA(cudaMallocAsync(&pointer, 16, stream)); });
  cudaGraphExec_t exec = instantiate(graph);
  EXPECT_EQ(cudaErrorInvalidValue, cudaFreeAsync(pointer, stream));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaMemsetAsync(pointer, 1, 16, stream));
  ASSERT_CUDA(cudaFreeAsync(pointer, stream));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(1U, usage(0).device_allocations);
  ASSERT_CUDA(cudaFree(pointer));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(pointer));
  ASSERT_CUDA(cudaGraphExecDestroy(exec));
  ASSERT_CUDA(cudaGraphInstantiate(&exec, graph, cudaGraphInstantiateFlagAutoFreeOnLaunch));
  for (int i = 0; i < 3; ++i) ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(1U, usage(0).device_allocations);
  ASSERT_CUDA(cudaGraphExecDestroy(exec));
  ASSERT_CUDA(cudaGraphDestroy(graph));
  EXPECT_EQ(0U, usage(0).device_allocations);
}

TEST_F(Pool, AnotherGraphMayFree) {
  const cudaStream_t stream = makeStream();
  void* pointer = nullptr;
  const cudaGraphExec_t allocating = instantiate(capture(stream, [&] { EXPECT_CUDA(cudaMallocAsync(&pointer, 16, stream)); }));
  const cudaGraphExec_t freeing = instantiate(capture(stream, [&] { EXPECT_CUDA(cudaFreeAsync(pointer, stream)); }));
  for (int i = 0; i < 3; ++i) {
    ASSERT_CUDA(cudaGraphLaunch(allocating, stream));
    ASSERT_CUDA(cudaGraphLaunch(freeing, stream));
  }
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(0U, usage(0).device_allocations);
}

TEST_F(Pool, AGraphFreesOnlyWhatGraphsAllocate) {
  const cudaStream_t stream = makeStream();
  void* pointer = nullptr;
  ASSERT_CUDA(cudaMallocAsync(&pointer, 16, stream));
  capture(stream, [&] { EXPECT_EQ(cudaErrorInvalidValue, cudaFreeAsync(pointer, stream)); });
  EXPECT_CUDA(cudaFreeAsync(pointer, stream));
}

}  // namespace
}  // namespace emu::test
