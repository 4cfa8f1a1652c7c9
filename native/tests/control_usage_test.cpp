#include <string>

#include "base/object_counts.h"
#include "cuda_support.h"

namespace emu::test {
namespace {

class Usage : public CudaTest {};

TEST_F(Usage, CountsWhatLives) {
  ASSERT_CUDA(cudaSetDevice(1));
  const cudaStream_t stream = makeStream();
  const cudaEvent_t event = makeEvent();
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 100));
  makeDevice<char>(50);
  const nccl4jEmuUsage_t one = usage(1);
  EXPECT_EQ(1U, one.streams);
  EXPECT_EQ(1U, one.events);
  EXPECT_EQ(1U, one.pinned_allocations);
  EXPECT_EQ(100U, one.pinned_bytes);
  EXPECT_EQ(50U, one.device_bytes);
  EXPECT_EQ(0U, usage(0).streams);
  EXPECT_EQ(1U, usage(-1).streams);
  ASSERT_CUDA(cudaStreamDestroy(stream));
  ASSERT_CUDA(cudaEventDestroy(event));
  EXPECT_EQ(0U, usage(1).streams + usage(1).events);
}

TEST_F(Usage, CountsTheObjectsOfOtherRooms) {
  const uint64_t before = usage(-1).groups, second = usage(2).groups, third = usage(3).groups;
  objects::groups.add(3, 1);
  objects::groups.add(3, 1);
  EXPECT_EQ(before + 2, usage(-1).groups);
  EXPECT_EQ(second, usage(2).groups);
  EXPECT_EQ(third + 2, usage(3).groups);
  objects::groups.add(3, -1);
  objects::groups.add(3, -1);
  EXPECT_EQ(before, usage(-1).groups);
}

TEST_F(Usage, CountsWaitsOfTheHost) {
  const cudaStream_t stream = makeStream();
  const uint64_t before = usage(-1).host_waits;
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(before, usage(-1).host_waits) << "nothing to wait for";
  Gate gate;
  gate.put(stream);
  std::thread opener([&] {
    // Opens when the wait has begun.
    EventCount changed{};
    EXPECT_EQ(WaitEnd::Ready,
              waitUntil(changed, [&] { return usage(-1).host_waits > before; }, now() + 60'000'000'000));
    gate.open();
  });
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  opener.join();
  EXPECT_EQ(before + 1, usage(-1).host_waits);
}

TEST_F(Usage, RefusesWhatIsNotValid) {
  nccl4jEmuUsage_t all;
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuUsage(64, &all));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuUsage(-2, &all));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuUsage(0, nullptr));
  char text[4];
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuErrorText(64, text, sizeof text));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuErrorText(0, nullptr, 4));
  int version = 0;
  EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuInterface(&version));
  EXPECT_EQ(NCCL4J_EMU_INTERFACE, version);
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuInterface(nullptr));
}

}  // namespace
}  // namespace emu::test
