#include "cuda/memory.h"

#include <cstring>
#include <set>

#include "cuda/work.h"
#include "cuda_support.h"

namespace emu::test {
namespace {

class Memory : public CudaTest {};

TEST_F(Memory, IsZeroedAlignedAndAccounted) {
  ASSERT_CUDA(cudaSetDevice(1));
  size_t freeBefore = 0;
  size_t total = 0;
  ASSERT_CUDA(cudaMemGetInfo(&freeBefore, &total));
  EXPECT_EQ(total, freeBefore);
  auto* pointer = makeDevice<unsigned char>(10'000);
  EXPECT_EQ(0U, reinterpret_cast<uintptr_t>(pointer) % 256);
  size_t freeAfter = 0;
  ASSERT_CUDA(cudaMemGetInfo(&freeAfter, &total));
  EXPECT_EQ(freeBefore - 10'000, freeAfter);
  std::vector<unsigned char> host(10'000, 1);
  ASSERT_CUDA(cudaMemcpy(host.data(), pointer, host.size(), cudaMemcpyDeviceToHost));
  EXPECT_EQ(std::vector<unsigned char>(10'000, 0), host);
  EXPECT_EQ(1U, usage(1).device_allocations);
  EXPECT_EQ(10'000U, usage(1).device_bytes);
  EXPECT_EQ(0U, usage(0).device_bytes);
  ASSERT_CUDA(cudaFree(pointer));
  EXPECT_EQ(0U, usage(1).device_allocations);
  EXPECT_EQ(10'000U, usage(1).peak_device_bytes);
}

TEST_F(Memory, FreedAddressesAreNotUsedAgainSoon) {
  std::set<void*> seen;
  for (int i = 0; i < 1000; ++i) {
    void* pointer = makeDevice<char>(100);
    EXPECT_TRUE(seen.insert(pointer).second);
    ASSERT_CUDA(cudaFree(pointer));
  }
}

TEST_F(Memory, IsLazilyBacked) {
  // Far more than this machine has: only the pages that are touched count.
  auto* pointer = makeDevice<char>(size_t{64} << 30);
  ASSERT_CUDA(cudaMemset(pointer + (size_t{32} << 30), 1, 4096));
  ASSERT_CUDA(cudaDeviceSynchronize());
  EXPECT_CUDA(cudaFree(pointer));
}

TEST_F(Memory, EndsWithTheDevicesBudget) {
  size_t free = 0;
  size_t total = 0;
  ASSERT_CUDA(cudaMemGetInfo(&free, &total));
  void* most = nullptr;
  void* more = nullptr;
  ASSERT_CUDA(cudaMalloc(&most, free));
  EXPECT_EQ(cudaErrorMemoryAllocation, cudaMalloc(&more, 1));
  EXPECT_EQ(nullptr, more);
  EXPECT_EQ(cudaErrorMemoryAllocation, cudaGetLastError());
  ASSERT_CUDA(cudaSetDevice(1));
  EXPECT_CUDA(cudaMalloc(&more, 1));
  ASSERT_CUDA(cudaFree(most));
  ASSERT_CUDA(cudaSetDevice(0));
  EXPECT_CUDA(cudaMalloc(&more, free));
  EXPECT_EQ(cudaErrorMemoryAllocation, cudaMalloc(&more, SIZE_MAX));
}

TEST_F(Memory, WrongAddressesAreRefused) {
  auto* device = makeDevice<char>(4096);
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 100));
  int local = 0;
  EXPECT_CUDA(cudaFree(nullptr));
  EXPECT_CUDA(cudaFreeHost(nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(device + 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(pinned));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(&local));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFreeHost(device));
  EXPECT_CUDA(cudaFree(device));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFree(device));
  EXPECT_CUDA(cudaFreeHost(pinned));
  EXPECT_EQ(cudaErrorInvalidValue, cudaFreeHost(pinned));
  void* nothing = &local;
  EXPECT_CUDA(cudaMalloc(&nothing, 0));
  EXPECT_EQ(nullptr, nothing);
  EXPECT_EQ(cudaErrorInvalidValue, cudaMalloc(nullptr, 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostAlloc(&nothing, 1, 0x80));
}

TEST_F(Memory, FreeWaitsForTheWorkOfTheDevice) {
  const cudaStream_t stream = makeStream();
  auto* pointer = makeDevice<int>(1);
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaMemsetAsync(pointer, 0xFF, sizeof(int), stream));
  std::atomic<bool> freed{false};
  std::thread freeing([&] {
    EXPECT_CUDA(cudaFree(pointer));
    freed = true;
  });
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(stream));
  EXPECT_FALSE(freed);
  gate.open();
  freeing.join();
  EXPECT_CUDA(cudaDeviceSynchronize());
  EXPECT_GE(usage(-1).host_waits, 1U);
}

TEST_F(Memory, PointerAttributesTellWhatAnAddressIs) {
  ASSERT_CUDA(cudaSetDevice(2));
  auto* device = makeDevice<char>(4096);
  void* pinned = nullptr;
  ASSERT_CUDA(cudaHostAlloc(&pinned, 100, cudaHostAllocPortable | cudaHostAllocMapped));
  ASSERT_CUDA(cudaSetDevice(0));
  cudaPointerAttributes attributes;
  ASSERT_CUDA(cudaPointerGetAttributes(&attributes, device + 10));
  EXPECT_EQ(cudaMemoryTypeDevice, attributes.type);
  EXPECT_EQ(2, attributes.device);
  EXPECT_EQ(device + 10, attributes.devicePointer);
  EXPECT_EQ(nullptr, attributes.hostPointer);
  ASSERT_CUDA(cudaPointerGetAttributes(&attributes, pinned));
  EXPECT_EQ(cudaMemoryTypeHost, attributes.type);
  EXPECT_EQ(pinned, attributes.devicePointer);
  EXPECT_EQ(pinned, attributes.hostPointer);
  ASSERT_CUDA(cudaPointerGetAttributes(&attributes, &attributes));
  EXPECT_EQ(cudaMemoryTypeUnregistered, attributes.type);
  EXPECT_EQ(nullptr, attributes.devicePointer);
  EXPECT_EQ(&attributes, attributes.hostPointer);
  void* mapped = nullptr;
  EXPECT_CUDA(cudaHostGetDevicePointer(&mapped, pinned, 0));
  EXPECT_EQ(pinned, mapped);
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostGetDevicePointer(&mapped, device, 0));
}

TEST_F(Memory, HostMemoryIsRegisteredOnce) {
  std::vector<char> host(4 * 4096);
  ASSERT_CUDA(cudaHostRegister(host.data() + 100, 4096, cudaHostRegisterDefault));
  EXPECT_EQ(1U, usage(0).pinned_allocations);
  EXPECT_EQ(4096U, usage(0).pinned_bytes);
  EXPECT_EQ(cudaErrorHostMemoryAlreadyRegistered, cudaHostRegister(host.data(), 101, 0));
  EXPECT_EQ(cudaErrorHostMemoryAlreadyRegistered, cudaHostRegister(host.data() + 4195, 10, 0));
  EXPECT_CUDA(cudaHostRegister(host.data() + 4196, 10, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostUnregister(host.data() + 101)) << "not the start";
  EXPECT_CUDA(cudaHostUnregister(host.data() + 100));
  EXPECT_CUDA(cudaHostUnregister(host.data() + 4196));
  EXPECT_EQ(cudaErrorHostMemoryNotRegistered, cudaHostUnregister(host.data() + 100));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostRegister(nullptr, 1, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostRegister(host.data(), 0, 0));
  EXPECT_EQ(0U, usage(0).pinned_allocations);
  // What CUDA has allocated itself is no host memory to register.
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 4096));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostRegister(pinned, 64, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostRegister(makeDevice<char>(64), 64, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaHostUnregister(pinned));
}

TEST_F(Memory, AccessIsJudgedByBlockDeviceAndKind) {
  auto* mine = makeDevice<char>(1000);
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 100));
  std::string why;
  EXPECT_TRUE(memory::accessible(mine, 1000, 0, &why));
  EXPECT_TRUE(memory::accessible(mine + 999, 1, 0, &why));
  EXPECT_TRUE(memory::accessible(pinned, 100, 3, &why));
  EXPECT_TRUE(memory::accessible(nullptr, 0, 0, &why));
  EXPECT_FALSE(memory::accessible(mine, 1001, 0, &why));
  EXPECT_NE(std::string::npos, why.find("1001 bytes do not fit")) << why;
  EXPECT_FALSE(memory::accessible(mine + 1000, 1, 0, &why));
  EXPECT_NE(std::string::npos, why.find("0 bytes beyond the end of")) << why;
  EXPECT_FALSE(memory::accessible(&why, 1, 0, &why));
  EXPECT_FALSE(memory::accessible(mine, SIZE_MAX, 0, &why));
  EXPECT_FALSE(memory::accessible(mine, 1, 1, &why));
  EXPECT_NE(std::string::npos, why.find("device 1 has no access")) << why;
  EXPECT_TRUE(memory::accessible(mine, 1, -1, &why));
  ASSERT_CUDA(cudaSetDevice(1));
  ASSERT_CUDA(cudaDeviceEnablePeerAccess(0, 0));
  EXPECT_TRUE(memory::accessible(mine, 1, 1, &why));
  EXPECT_FALSE(memory::accessible(mine, 1, 2, &why));
}

TEST_F(Memory, TheHistoryOfAnAddressIsTold) {
  auto* pointer = makeDevice<char>(1000);
  char text[512];
  nccl4jEmuDescribeAddress(pointer + 10, text, sizeof text);
  EXPECT_NE(nullptr, std::strstr(text, "10 bytes into")) << text;
  EXPECT_NE(nullptr, std::strstr(text, "1000 bytes of device memory of device 0")) << text;
  EXPECT_NE(nullptr, std::strstr(text, "alive")) << text;
  ASSERT_CUDA(cudaFree(pointer));
  nccl4jEmuDescribeAddress(pointer + 10, text, sizeof text);
  EXPECT_NE(nullptr, std::strstr(text, "by cudaMalloc in thread")) << text;
  EXPECT_NE(nullptr, std::strstr(text, "by cudaFree in thread")) << text;
  nccl4jEmuDescribeAddress(text, text, sizeof text);
  EXPECT_NE(nullptr, std::strstr(text, "belongs to no allocation")) << text;
  nccl4jEmuDescribeAddress(nullptr, text, sizeof text);
  EXPECT_STREQ("NULL", text);
}

// Work that runs elsewhere may still use what is freed: it must find an error, not end the process.
TEST_F(Memory, PagesStayWhileWorkUsesThem) {
  auto* pointer = makeDevice<char>(4096);
  ASSERT_CUDA(cudaSetDevice(1));
  const cudaStream_t stream = makeStream();
  Gate gate;
  std::atomic<bool> touched{false};
  std::atomic<char> read{1};
  EventCount changed{};
  Work work;
  work.name = "test";
  work.run = [&](WorkContext& context) {
    context.touchAnywhere("block", pointer, 4096);
    touched = true;
    changed.notifyAll();
    waitUntil(changed, [&] { return read.load() == 2; }, now() + 60'000'000'000);
    read = pointer[100];
  };
  ASSERT_CUDA(submit(stream, std::move(work)));
  ASSERT_EQ(WaitEnd::Ready, waitUntil(changed, [&] { return touched.load(); }, now() + 60'000'000'000));
  EXPECT_CUDA(cudaFree(pointer));  // waits for device 0 only
  std::string why;
  EXPECT_FALSE(memory::accessible(pointer, 1, -1, &why));
  read = 2;
  changed.notifyAll();
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(0, read.load());
}

TEST_F(Memory, PoisonFillsLargeAndSmall) {
  constexpr size_t kLarge = (size_t{40} << 20) + 5;
  unsigned char* large = nullptr;
  unsigned char* small = nullptr;
  {
    const ScopedOption poison("poison", "1");
    large = makeDevice<unsigned char>(kLarge);
    small = makeDevice<unsigned char>(3);
  }
  for (const size_t offset : {size_t{0}, kLarge / 2, kLarge - 1}) {
    unsigned char byte = 0;
    ASSERT_CUDA(cudaMemcpy(&byte, large + offset, 1, cudaMemcpyDeviceToHost));
    EXPECT_EQ(0x7F, byte) << offset;
  }
  unsigned char byte = 0;
  ASSERT_CUDA(cudaMemcpy(&byte, small + 2, 1, cudaMemcpyDeviceToHost));
  EXPECT_EQ(0x7F, byte);
  // What is written stays with its block.
  ASSERT_CUDA(cudaMemset(large, 1, kLarge));
  auto* fresh = makeDevice<unsigned char>(3);
  ASSERT_CUDA(cudaMemcpy(&byte, fresh, 1, cudaMemcpyDeviceToHost));
  EXPECT_EQ(0, byte);
}

TEST_F(Memory, InjectedFaultFailsTheNthAllocation) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_ALLOCATION, 0, 2, 0));
  void* pointer = nullptr;
  EXPECT_CUDA(cudaMalloc(&pointer, 10));
  EXPECT_EQ(cudaErrorMemoryAllocation, cudaMallocHost(&pointer, 10));
  EXPECT_CUDA(cudaMallocHost(&pointer, 10));
}

TEST_F(Memory, ManyThreadsAllocateAndFree) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([t] {
      EXPECT_CUDA(cudaSetDevice(t % kDevices));
      for (int i = 0; i < 100; ++i) {
        void* pointer = nullptr;
        EXPECT_CUDA(cudaMalloc(&pointer, static_cast<size_t>(1 + i * 100)));
        EXPECT_CUDA(cudaMemset(pointer, i, static_cast<size_t>(1 + i * 100)));
        EXPECT_CUDA(cudaFree(pointer));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0U, usage(-1).device_allocations);
}

}  // namespace
}  // namespace emu::test
