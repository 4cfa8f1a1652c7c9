// R13: CUDA_VISIBLE_DEVICES.
#include "base/visible_devices.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "abi/cuda_runtime.h"
#include "nccl4j_emulator.h"

namespace emu::test {
namespace {

std::vector<int> visible(const std::string& list, std::string* complaint = nullptr) {
  std::string unread;
  return visibleDevices(list, 8, complaint != nullptr ? complaint : &unread);
}

TEST(R13VisibleDevices, AreThoseListedInTheirOrder) {
  EXPECT_EQ((std::vector<int>{2, 0, 7}), visible("2,0,7"));
  EXPECT_EQ((std::vector<int>{3}), visible(" 3 "));
  EXPECT_EQ((std::vector<int>{1, 2}), visible("1, 2"));
}

TEST(R13VisibleDevices, EndAtTheFirstThatIsNone) {
  EXPECT_EQ((std::vector<int>{1}), visible("1,8,2"));
  EXPECT_EQ((std::vector<int>{1}), visible("1,-1,2"));
  EXPECT_EQ((std::vector<int>{1}), visible("1,x,2"));
  for (const char* none : {"", "-1", "8", "NoDevFiles", ","}) EXPECT_TRUE(visible(none).empty()) << none;
}

TEST(R13VisibleDevices, SayWhatIsWrong) {
  std::string complaint;
  EXPECT_TRUE(visible("1,2,1", &complaint).empty());
  EXPECT_EQ("device 1 is named twice", complaint);
  EXPECT_EQ((std::vector<int>{0}), visible("0,GPU-5ebe9f43", &complaint));
  EXPECT_EQ("emulated devices have no UUIDs such as GPU-5ebe9f43: name them by number", complaint);
}

// The devices of a process are fixed by its first call, so these need processes of their own.
class R13VisibleDevicesDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  void TearDown() override {
    unsetenv("CUDA_VISIBLE_DEVICES");
    unsetenv("NCCL4J_EMU_DEVICES");
  }
};

TEST_F(R13VisibleDevicesDeathTest, AreCountedAndKeepTheirPlaceInTheMachine) {
  setenv("NCCL4J_EMU_DEVICES", "8", 1);
  setenv("CUDA_VISIBLE_DEVICES", "5,2", 1);
  EXPECT_EXIT(
      {
        int count = 0;
        int second = -1;
        int hidden = -1;
        char text[16];
        const bool right = cudaGetDeviceCount(&count) == cudaSuccess && count == 2 && cudaSetDevice(1) == cudaSuccess &&
                           cudaSetDevice(2) == cudaErrorInvalidDevice &&
                           cudaDeviceGetPCIBusId(text, sizeof text, 1) == cudaSuccess && std::string(text) == "0000:12:00.0" &&
                           cudaDeviceGetByPCIBusId(&second, text) == cudaSuccess && second == 1 &&
                           cudaDeviceGetByPCIBusId(&hidden, "0000:10:00.0") == cudaErrorInvalidDevice;
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(R13VisibleDevicesDeathTest, MayBeNone) {
  setenv("CUDA_VISIBLE_DEVICES", "GPU-1", 1);
  EXPECT_EXIT(
      {
        int count = -1;
        const bool right = cudaGetDeviceCount(&count) == cudaErrorNoDevice && cudaSetDevice(0) == cudaErrorNoDevice;
        std::_Exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "CUDA_VISIBLE_DEVICES: emulated devices have no UUIDs");
}

}  // namespace
}  // namespace emu::test
