#include <gtest/gtest.h>

#include <cstdlib>

#include "abi/cuda_runtime.h"
#include "base/options.h"
#include "nccl4j_emulator.h"
#include "scoped_option.h"

namespace emu::test {
namespace {

TEST(Options, AreSetAndRead) {
  const ScopedOption before[] = {{"misuse", "abort"}, {"shuffle", "0"}, {"compute_capability", "90"}, {"api", "2"}};
  {
    const ScopedOption misuse("misuse", "report");
    const ScopedOption shuffle("shuffle", "18446744073709551615");
    const ScopedOption capability("compute_capability", "100");
    const ScopedOption api("api", "0.2.0");
    EXPECT_TRUE(options::reportMisuse());
    EXPECT_EQ(200, options::epVersion());
    EXPECT_EQ("0.2.0", option("api"));
    EXPECT_EQ(UINT64_MAX, options::shuffleSeed());
    EXPECT_EQ(100, options::computeCapability());
    EXPECT_EQ("report", option("misuse"));
  }
  EXPECT_FALSE(options::reportMisuse());
  EXPECT_EQ(0U, options::shuffleSeed());
  EXPECT_EQ(90, options::computeCapability());
  EXPECT_EQ(100, options::epVersion());
}

TEST(Options, RefuseWhatIsNotValid) {
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuSetOption("colour", "1"));
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuSetOption(nullptr, "1"));
  char text[8];
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuGetOption("colour", text, sizeof text));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuGetOption("sms", nullptr, 4));
  for (const char* value : {"", "-1", "+1", " 1", "1x", "0x1", "99999999999999999999", static_cast<const char*>(nullptr)}) {
    EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("shuffle", value)) << (value != nullptr ? value : "NULL");
  }
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("misuse", "1"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("poison", "2"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("api", "1"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("compute_capability", "95"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("devices", "65"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetOption("devices", "0"));
}

TEST(Options, TheNumberOfDevicesIsFixedByItsFirstUse) {
  const int count = options::devices();
  EXPECT_EQ(NCCL4J_EMU_TOO_LATE, nccl4jEmuSetOption("devices", std::to_string(count == 1 ? 2 : count - 1).c_str()));
  EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuSetOption("devices", std::to_string(count).c_str()));
}

TEST(Options, ACutTextIsTerminated) {
  char text[4];
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuGetOption("device_memory", text, sizeof text));
  EXPECT_EQ(3U, std::string(text).size());
  EXPECT_EQ(0U, option("device_memory").find(text));
}

TEST(Options, EnvironmentIsLaidOverTheProcess) {
  std::string value;
  EXPECT_FALSE(options::environment("NCCL4J_TEST_UNSET", &value));
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuSetEnvironment("NCCL4J_TEST_UNSET", ""));
  ASSERT_TRUE(options::environment("NCCL4J_TEST_UNSET", &value));
  EXPECT_EQ("", value);
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuSetEnvironment("NCCL4J_TEST_UNSET", nullptr));
  EXPECT_FALSE(options::environment("NCCL4J_TEST_UNSET", &value));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetEnvironment("", "x"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetEnvironment("A=B", "x"));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuSetEnvironment(nullptr, "x"));
}

// The environment is read once, so that needs a process of its own.
using OptionsDeathTest = ::testing::Test;

TEST(OptionsDeathTest, AreReadFromTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("NCCL4J_EMU_DEVICES", "3", 1);
  setenv("NCCL4J_EMU_MISUSE", "report", 1);
  setenv("NCCL4J_EMU_SMS", "many", 1);
  EXPECT_EXIT(
      {
        int count = 0;
        const bool right = cudaGetDeviceCount(&count) == cudaSuccess && count == 3 && options::reportMisuse() &&
                           options::multiprocessors() == 132;
        std::exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "NCCL4J_EMU_SMS=many is not valid");
  unsetenv("NCCL4J_EMU_DEVICES");
  unsetenv("NCCL4J_EMU_MISUSE");
  unsetenv("NCCL4J_EMU_SMS");
}

}  // namespace
}  // namespace emu::test
