// N5: the calls that memory pools of programs make.
#include "abi/cuda_driver.h"
#include "cuda_support.h"

namespace emu::test {
namespace {

constexpr size_t kPiece = size_t{2} << 20;

#define EXPECT_CU(expected, call) EXPECT_EQ(static_cast<unsigned>(expected), static_cast<unsigned>(call))
#define ASSERT_CU(call) ASSERT_EQ(static_cast<unsigned>(CUDA_SUCCESS), static_cast<unsigned>(call))

CUmemAllocationProp onDevice(int device) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  return properties;
}

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

class N5VirtualMemory : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    ASSERT_CUDA(cudaSetDevice(1));
    ASSERT_CU(cuMemAddressReserve(&base_, 8 * kPiece, 0, 0, 0));
  }
  void TearDown() override {
    EXPECT_CU(CUDA_SUCCESS, cuMemAddressFree(base_, 8 * kPiece));
    CudaTest::TearDown();
  }

  // Adds a piece to the segment, as a pool that grows does.
  void grow(size_t index) {
    const CUmemAllocationProp properties = onDevice(1);
    CUmemGenericAllocationHandle handle = 0;
    ASSERT_CU(cuMemCreate(&handle, kPiece, &properties, 0));
    ASSERT_CU(cuMemMap(base_ + index * kPiece, kPiece, 0, handle, 0));
    ASSERT_CU(cuMemRelease(handle));
    allow(index, 1);
  }

  void allow(size_t index, int device) {
    const CUmemAccessDesc access[2] = {{{CU_MEM_LOCATION_TYPE_DEVICE, 1}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
                                       {{CU_MEM_LOCATION_TYPE_DEVICE, device}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}};
    ASSERT_CU(cuMemSetAccess(base_ + index * kPiece, kPiece, access, 2));
  }

  CUdeviceptr base_ = 0;
};

TEST_F(N5VirtualMemory, GrowsAndShrinks) {
  const CUmemAllocationProp properties = onDevice(1);
  size_t granularity = 0;
  ASSERT_CU(cuMemGetAllocationGranularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
  EXPECT_EQ(kPiece, granularity);
  EXPECT_EQ(0U, base_ % granularity);
  const uint64_t before = usage(1).device_bytes;
  for (const size_t index : {0, 1, 2}) grow(index);
  EXPECT_EQ(before + 3 * kPiece, usage(1).device_bytes);
  std::vector<char> host(kPiece, 9);
  ASSERT_CUDA(cudaMemcpy(pointer(base_ + kPiece), host.data(), host.size(), cudaMemcpyHostToDevice));
  ASSERT_CUDA(cudaMemcpy(pointer(base_), pointer(base_ + kPiece), kPiece, cudaMemcpyDeviceToDevice));
  char read = 0;
  ASSERT_CUDA(cudaMemcpy(&read, pointer(base_ + kPiece - 1), 1, cudaMemcpyDeviceToHost));
  EXPECT_EQ(9, read);
  ASSERT_CU(cuMemUnmap(base_ + kPiece, 2 * kPiece));
  EXPECT_EQ(before + kPiece, usage(1).device_bytes);
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(pointer(base_ + kPiece), 0, 1));
  ASSERT_CU(cuMemUnmap(base_, kPiece));
  EXPECT_EQ(before, usage(1).device_bytes);
}

TEST_F(N5VirtualMemory, KeepsItsContentsWithoutAccess) {
  grow(0);
  ASSERT_CUDA(cudaMemset(pointer(base_), 5, kPiece));
  const CUmemAccessDesc none{{CU_MEM_LOCATION_TYPE_DEVICE, 1}, CU_MEM_ACCESS_FLAGS_PROT_NONE};
  ASSERT_CU(cuMemSetAccess(base_, kPiece, &none, 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(pointer(base_), 0, 1));
  allow(0, 1);
  char read = 0;
  ASSERT_CUDA(cudaMemcpy(&read, pointer(base_ + 77), 1, cudaMemcpyDeviceToHost));
  EXPECT_EQ(5, read);
  ASSERT_CU(cuMemUnmap(base_, kPiece));
}

TEST_F(N5VirtualMemory, RefusesWhatCudaRefuses) {
  const CUmemAllocationProp properties = onDevice(1);
  const CUmemAllocationProp nowhere = onDevice(1000);
  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr address = 0;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, kPiece + 1, &properties, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, 0, &properties, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemCreate(nullptr, kPiece, &properties, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, kPiece, nullptr, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_DEVICE, cuMemCreate(&handle, kPiece, &nowhere, 0));
  EXPECT_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemCreate(&handle, size_t{1} << 46, &properties, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, kPiece, 3 * kPiece, 0, 0)) << "no power of two";
  ASSERT_CU(cuMemCreate(&handle, kPiece, &properties, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(base_ + 8 * kPiece, kPiece, 0, handle, 0)) << "outside";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(base_, 2 * kPiece, 0, handle, 0)) << "more than the handle has";
  ASSERT_CU(cuMemMap(base_, kPiece, 0, handle, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(base_, kPiece, 0, handle, 0)) << "mapped already";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(base_, 8 * kPiece)) << "something is mapped";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(base_, 2 * kPiece));
  ASSERT_CU(cuMemUnmap(base_, kPiece));
  ASSERT_CU(cuMemRelease(handle));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemRelease(handle));
}

}  // namespace
}  // namespace emu::test
