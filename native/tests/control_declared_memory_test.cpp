// N5: memory that somebody else has mapped as device memory.
#include <sys/mman.h>

#include <cstring>

#include "cuda_support.h"

namespace emu::test {
namespace {

constexpr size_t kBytes = 64 * 1024;

class N5DeclaredMemory : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    foreign_ = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_CUDA(cudaSetDevice(1));
  }
  void TearDown() override {
    CudaTest::TearDown();
    munmap(foreign_, kBytes);
  }

  char* foreign_ = nullptr;
};

TEST_F(N5DeclaredMemory, IsDeviceMemory) {
  const nccl4jEmuUsage_t before = usage(1);
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuDeclareMemory(foreign_, kBytes, 1));
  EXPECT_EQ(before.device_bytes + kBytes, usage(1).device_bytes);
  cudaPointerAttributes attributes;
  ASSERT_CUDA(cudaPointerGetAttributes(&attributes, foreign_ + 100));
  EXPECT_EQ(cudaMemoryTypeDevice, attributes.type);
  EXPECT_EQ(1, attributes.device);
  ASSERT_CUDA(cudaMemset(foreign_, 7, kBytes));
  char read[16];
  ASSERT_CUDA(cudaMemcpy(read, foreign_ + kBytes - sizeof read, sizeof read, cudaMemcpyDeviceToHost));
  for (const char value : read) EXPECT_EQ(7, value);
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(foreign_, 7, kBytes + 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(foreign_)) << "it is not cudaMalloc's";
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuWithdrawMemory(foreign_));
  EXPECT_EQ(before.device_bytes, usage(1).device_bytes);
  EXPECT_EQ(cudaErrorInvalidValue, cudaMemset(foreign_, 7, 1));
  EXPECT_EQ(7, foreign_[0]) << "it is still the caller's";
}

TEST_F(N5DeclaredMemory, OfACapturedGraphIsMissedWhenWithdrawn) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuDeclareMemory(foreign_, kBytes, 1));
  const cudaStream_t stream = makeStream();
  const cudaGraphExec_t exec = instantiate(capture(stream, [&] { EXPECT_CUDA(cudaMemsetAsync(foreign_, 1, kBytes, stream)); }));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuWithdrawMemory(foreign_));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, errorText(1).find("declared device memory")) << errorText(1);
}

TEST_F(N5DeclaredMemory, IsRefusedWhereItCannotBe) {
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(nullptr, kBytes, 1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(foreign_, 0, 1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(foreign_, SIZE_MAX, 1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(foreign_, kBytes, 1000));
  ASSERT_EQ(0, mprotect(foreign_ + kBytes / 2, kBytes / 2, PROT_NONE));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(foreign_, kBytes, 1));
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuDeclareMemory(foreign_, kBytes / 2, 1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(foreign_ + 4096, 4096, 1)) << "overlaps";
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuWithdrawMemory(foreign_ + 4096));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuDeclareMemory(makeDevice<char>(4096), 4096, 1)) << "known already";
  ASSERT_CUDA(cudaDeviceReset());
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuWithdrawMemory(foreign_)) << "the reset has withdrawn it";
}

// Pages that went without a word are an error, not the end of the process.
TEST_F(N5DeclaredMemory, MayGoAwayInReportMode) {
  const ScopedOption report("misuse", "report");
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuDeclareMemory(foreign_, kBytes, 1));
  ASSERT_EQ(0, mprotect(foreign_, kBytes, PROT_NONE));
  const cudaStream_t stream = makeStream();
  ASSERT_CUDA(cudaMemsetAsync(foreign_, 1, kBytes, stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, errorText(1).find("pages are gone")) << errorText(1);
}

}  // namespace
}  // namespace emu::test
