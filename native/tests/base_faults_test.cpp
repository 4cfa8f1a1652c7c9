#include "base/faults.h"

#include <gtest/gtest.h>

#include <csignal>

#include "nccl4j_emulator.h"

namespace emu {
namespace {

class Faults : public ::testing::Test {
 protected:
  void SetUp() override { nccl4jEmuClearFaults(); }
  void TearDown() override { nccl4jEmuClearFaults(); }
};

TEST_F(Faults, AllocationFailsOnceAtTheNth) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_ALLOCATION, 1, 2, 0));
  EXPECT_FALSE(faults::failAllocation(0));
  EXPECT_FALSE(faults::failAllocation(1));
  EXPECT_FALSE(faults::failLaunch(1));
  EXPECT_TRUE(faults::failAllocation(1));
  EXPECT_FALSE(faults::failAllocation(1));
}

TEST_F(Faults, AnySubjectCountsAll) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_LAUNCH, -1, 3, 0));
  EXPECT_FALSE(faults::failLaunch(0));
  EXPECT_FALSE(faults::failLaunch(5));
  EXPECT_TRUE(faults::failLaunch(2));
}

TEST_F(Faults, DelayStrikesOneOperation) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DELAY, 3, 2, 70));
  EXPECT_EQ(0U, faults::onOperation(3).delayMs);
  EXPECT_EQ(0U, faults::onOperation(2).delayMs);
  EXPECT_EQ(70U, faults::onOperation(3).delayMs);
  EXPECT_EQ(0U, faults::onOperation(3).delayMs);
}

TEST_F(Faults, SilenceLastsAndStaysWithItsRank) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_SILENCE, -1, 2, 0));
  EXPECT_FALSE(faults::onOperation(0).silent);
  EXPECT_TRUE(faults::onOperation(1).silent);
  EXPECT_FALSE(faults::onOperation(0).silent);
  EXPECT_TRUE(faults::onOperation(1).silent);
  nccl4jEmuClearFaults();
  EXPECT_FALSE(faults::onOperation(1).silent);
}

TEST_F(Faults, SeveralPeersCanBeDropped) {
  EXPECT_EQ(0U, faults::onOperation(0).deaf);
  nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DROP_MESSAGES, 0, 1, 2);
  nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DROP_MESSAGES, 0, 2, 5);
  faults::Operation operation = faults::onOperation(0);
  EXPECT_EQ(uint64_t{1} << 2, operation.deaf);
  operation = faults::onOperation(0);
  EXPECT_EQ((uint64_t{1} << 2) | (uint64_t{1} << 5), operation.deaf);
  EXPECT_EQ(0U, faults::onOperation(1).deaf);
}

TEST_F(Faults, RefuseWhatIsNotValid) {
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuInjectFault(static_cast<nccl4jEmuFault_t>(7), 0, 1, 0));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_LAUNCH, -2, 1, 0));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_LAUNCH, 0, 0, 0));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DELAY, 0, 1, -1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DROP_MESSAGES, 0, 1, 64));
}

using FaultsDeathTest = Faults;

TEST_F(FaultsDeathTest, EndOfTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_END_PROCESS, 4, 2, 0);
        faults::onOperation(4);
        faults::onOperation(4);
      },
      ::testing::KilledBySignal(SIGKILL), "");
}

}  // namespace
}  // namespace emu
