#include "base/calls.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "abi/cuda_runtime.h"
#include "base/ring_log.h"
#include "base/thread.h"
#include "nccl4j_emulator.h"

namespace emu {
namespace {

class Calls : public ::testing::Test {
 protected:
  void TearDown() override {
    nccl4jEmuCallLog(0);
    nccl4jEmuClearPresets();
    cudaGetLastError();
  }

  static std::vector<nccl4jEmuCall_t> logged(uint64_t from = 1) {
    std::vector<nccl4jEmuCall_t> calls(256);
    calls.resize(nccl4jEmuCalls(from, calls.data(), calls.size()));
    return calls;
  }
};

TEST_F(Calls, AreLoggedWithArgumentsAndResult) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuCallLog(16));
  const uint64_t before = now();
  ASSERT_EQ(cudaErrorInvalidDevice, cudaSetDevice(1000));
  const auto calls = logged();
  ASSERT_EQ(1U, calls.size());
  EXPECT_STREQ("cudaSetDevice", calls[0].function);
  EXPECT_STREQ("device=1000", calls[0].arguments);
  EXPECT_EQ(cudaErrorInvalidDevice, calls[0].result);
  EXPECT_EQ(-1, calls[0].rank);
  EXPECT_EQ(thread::id(), calls[0].thread);
  EXPECT_EQ(thread::device(), calls[0].device);
  EXPECT_GE(calls[0].time_ns, before);
  EXPECT_LE(calls[0].time_ns + calls[0].duration_ns, now());
}

TEST_F(Calls, TellWhatTheyMadeOnlyIfTheyDid) {
  nccl4jEmuCallLog(4);
  auto garbage = reinterpret_cast<cudaStream_t>(0x1234);
  cudaStream_t stream = garbage;
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuPresetResult("cudaStreamCreate", cudaErrorUnknown, 0, 1));
  EXPECT_EQ(cudaErrorUnknown, cudaStreamCreate(&stream));
  EXPECT_EQ(garbage, stream);
  ASSERT_EQ(cudaSuccess, cudaStreamCreate(&stream));
  const auto calls = logged();
  ASSERT_EQ(2U, calls.size());
  EXPECT_STREQ("stream=NULL", calls[0].arguments);
  Arguments expected;
  expected.pointer("stream", stream);
  EXPECT_EQ(expected.str(), calls[1].arguments);
  EXPECT_EQ(cudaSuccess, cudaStreamDestroy(stream));
}

TEST_F(Calls, OnlyTheNewestAreKept) {
  nccl4jEmuCallLog(3);
  for (int i = 0; i < 10; ++i) cudaSetDevice(1000 + i);
  const auto calls = logged();
  ASSERT_EQ(3U, calls.size());
  EXPECT_STREQ("device=1007", calls[0].arguments);
  EXPECT_STREQ("device=1009", calls[2].arguments);
  EXPECT_EQ(calls[0].sequence + 2, calls[2].sequence);
  ASSERT_EQ(1U, logged(calls[2].sequence).size());
  EXPECT_EQ(0U, logged(calls[2].sequence + 1).size());
  nccl4jEmuCall_t one;
  ASSERT_EQ(1U, nccl4jEmuCalls(0, &one, 1));
  EXPECT_EQ(calls[0].sequence, one.sequence);
  // A new capacity starts anew, with higher numbers.
  nccl4jEmuCallLog(2);
  EXPECT_EQ(0U, logged().size());
  cudaSetDevice(2000);
  ASSERT_EQ(1U, logged().size());
  EXPECT_EQ(calls[2].sequence + 1, logged()[0].sequence);
  nccl4jEmuCallLog(0);
  cudaSetDevice(2000);
  EXPECT_EQ(0U, logged().size());
}

TEST_F(Calls, AreCounted) {
  const uint64_t before = nccl4jEmuCallCount("cudaDriverGetVersion");
  const uint64_t allBefore = nccl4jEmuCallCount(nullptr);
  int version = 0;
  for (int i = 0; i < 5; ++i) ASSERT_EQ(cudaSuccess, cudaDriverGetVersion(&version));
  EXPECT_EQ(before + 5, nccl4jEmuCallCount("cudaDriverGetVersion"));
  EXPECT_EQ(allBefore + 5, nccl4jEmuCallCount(nullptr));
  EXPECT_EQ(0U, nccl4jEmuCallCount("cudaNoSuchFunction"));
}

TEST_F(Calls, PresetResultsComeWhenTheyAreDueAndInOrder) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuPresetResult("cudaRuntimeGetVersion", cudaErrorUnknown, 1, 2));
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuPresetResult("cudaRuntimeGetVersion", cudaErrorTimeout, 0, 1));
  int version = 7;
  EXPECT_EQ(cudaSuccess, cudaRuntimeGetVersion(&version));
  EXPECT_EQ(13000, version);
  version = 7;
  EXPECT_EQ(cudaErrorUnknown, cudaRuntimeGetVersion(&version));
  EXPECT_EQ(7, version) << "a preset call does nothing";
  EXPECT_EQ(cudaErrorUnknown, cudaGetLastError());
  EXPECT_EQ(cudaErrorUnknown, cudaRuntimeGetVersion(&version));
  EXPECT_EQ(cudaErrorTimeout, cudaRuntimeGetVersion(&version));
  EXPECT_EQ(cudaSuccess, cudaRuntimeGetVersion(&version));
}

TEST_F(Calls, PresetsCanBeSetBeforeTheFirstCallAndCleared) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuPresetResult("cudaProfilerStop", cudaErrorNotSupported, 0, 1));
  EXPECT_EQ(cudaErrorNotSupported, cudaProfilerStop());
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuPresetResult("cudaProfilerStop", cudaErrorNotSupported, 0, 1));
  nccl4jEmuClearPresets();
  EXPECT_EQ(cudaSuccess, cudaProfilerStop());
}

TEST_F(Calls, PresetsRefuseWhatIsNotValid) {
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuPresetResult("cudaNoSuchFunction", 1, 0, 1));
  EXPECT_EQ(NCCL4J_EMU_UNKNOWN_NAME, nccl4jEmuPresetResult("printf", 1, 0, 1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuPresetResult(nullptr, 1, 0, 1));
  EXPECT_EQ(NCCL4J_EMU_BAD_VALUE, nccl4jEmuPresetResult("cudaMalloc", 1, 0, 0));
}

TEST_F(Calls, ManyThreadsLogWithoutLoss) {
  constexpr int kThreads = 8;
  constexpr int kCalls = 200;
  nccl4jEmuCallLog(kThreads * kCalls);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([] {
      int device = 0;
      for (int i = 0; i < kCalls; ++i) cudaGetDevice(&device);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<nccl4jEmuCall_t> calls(kThreads * kCalls + 1);
  ASSERT_EQ(static_cast<size_t>(kThreads * kCalls), nccl4jEmuCalls(0, calls.data(), calls.size()));
  for (size_t i = 1; i + 1 < calls.size(); ++i) ASSERT_EQ(calls[i - 1].sequence + 1, calls[i].sequence);
}

TEST(ArgumentsText, DecodesStructs) {
  Arguments arguments;
  arguments.number("a", -1);
  arguments.open("config");
  arguments.pointer("p", nullptr);
  arguments.text("s", nullptr);
  arguments.close();
  arguments.pointer("q", reinterpret_cast<const void*>(0x10));
  EXPECT_EQ("a=-1 config={p=NULL s=NULL} q=0x10", arguments.str());
}

TEST(RingLog, TextsAreCutBetweenCharacters) {
  char text[5];
  copyText(text, "abcd");
  EXPECT_STREQ("abcd", text);
  copyText(text, "abcde");
  EXPECT_STREQ("abcd", text);
  copyText(text, "abc\xC3\xA4");  // the last character would be cut in two
  EXPECT_STREQ("abc", text);
  copyText(text, "ab\xC3\xA4");
  EXPECT_STREQ("ab\xC3\xA4", text);
}

}  // namespace
}  // namespace emu
