#include "base/misuse.h"

#include <gtest/gtest.h>

#include <csignal>
#include <stdexcept>

#include "nccl4j_emulator.h"
#include "scoped_option.h"

namespace emu {
namespace {

uint64_t newest() {
  nccl4jEmuMisuse_t all[1024];
  const size_t count = nccl4jEmuMisuses(0, all, 1024);
  return count == 0 ? 0 : all[count - 1].sequence;
}

TEST(Misuse, IsRecordedInReportMode) {
  const uint64_t before = newest();
  const test::ScopedOption report("misuse", "report");
  misuse(End::Throw, 3, "ncclEpDispatch", "tokens=%d of %d", 5, 4);
  misuse(End::Abort, -1, "ncclEpCombine", "%s", std::string(2000, 'x').c_str());
  nccl4jEmuMisuse_t records[3];
  ASSERT_EQ(2U, nccl4jEmuMisuses(before + 1, records, 3));
  EXPECT_EQ(NCCL4J_EMU_END_THROW, records[0].end);
  EXPECT_EQ(3, records[0].rank);
  EXPECT_STREQ("ncclEpDispatch", records[0].function);
  EXPECT_STREQ("tokens=5 of 4", records[0].text);
  EXPECT_EQ(records[0].sequence + 1, records[1].sequence);
  EXPECT_EQ(sizeof records[1].text - 1, std::string(records[1].text).size());
}

TEST(Misuse, ATrapIsOnlyRecorded) {
  const uint64_t before = newest();
  misuse(End::Trap, 0, "ncclEpDispatch", "budget");
  EXPECT_EQ(before + 1, newest());
}

TEST(MisuseDeathTest, EndsTheProcessAsTheRealLibraryWould) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const test::ScopedOption abort("misuse", "abort");
  EXPECT_EXIT(misuse(End::Abort, 2, "ncclEpInitHandle", "why %d", 1), ::testing::KilledBySignal(SIGABRT),
              "ncclEpInitHandle, rank 2: why 1");
  EXPECT_EXIT(misuse(End::Exit, 2, "ncclEpInitHandle", "why"), ::testing::ExitedWithCode(1), "why");
  EXPECT_THROW(misuse(End::Throw, 2, "ncclEpInitHandle", "why"), std::runtime_error);
}

}  // namespace
}  // namespace emu
