// H11: a program that never frees gets an error before the kernel's limit of mappings ends it.
#include <sys/mman.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "cuda_support.h"

namespace emu::test {
namespace {

// The program's own mappings must still be possible when no allocation is.
bool programLives() {
  std::vector<void*> own;
  for (int i = 0; i < 2000; ++i) {
    // Every other page differs, so that none can be joined with its neighbour.
    void* page = mmap(nullptr, 4096, i % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    own.push_back(page);
  }
  for (void* page : own) munmap(page, 4096);
  std::thread thread([] {});
  thread.join();
  return true;
}

// How many allocations succeed before one fails with cudaErrorMemoryAllocation; -1 if it is another error.
int allocateUntilRefused(std::vector<void*>* all) {
  for (int i = 0; i < 70'000; ++i) {
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, 256);
    if (error == cudaErrorMemoryAllocation) return i;
    if (error != cudaSuccess) return -1;
    all->push_back(memory);
  }
  return -1;
}

int leak() {
  std::vector<void*> all;
  const int count = allocateUntilRefused(&all);
  if (count < 5'000 || !programLives()) return 1;
  // What is freed can be allocated again.
  for (int i = 0; i < 100; ++i) {
    if (cudaFree(all[static_cast<size_t>(i)]) != cudaSuccess) return 2;
  }
  std::vector<void*> more;
  return allocateUntilRefused(&more) == 100 ? 0 : 3;
}

class H11ManyAllocationsDeathTest : public ::testing::TestWithParam<const char*> {};

TEST_P(H11ManyAllocationsDeathTest, AreRefusedInTime) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        nccl4jEmuSetOption("poison", GetParam());
        std::_Exit(leak());
      },
      ::testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(Poison, H11ManyAllocationsDeathTest, ::testing::Values("0", "1"));

}  // namespace
}  // namespace emu::test
