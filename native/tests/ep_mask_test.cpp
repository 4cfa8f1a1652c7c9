// Section 7: masks, time-outs, the asynchronous error, ranks that come back.
#include <algorithm>
#include <chrono>

#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;
using nccl_test::Buffer;

constexpr uint64_t kTimeoutNs = 300'000'000;

Case maskCase(ncclEpLayout_t layout) {
  Case facts;
  facts.layout = layout;
  facts.ranks = 4;
  facts.experts = 16;
  facts.topk = 4;
  facts.maxTokens = 8;
  return facts;
}

ncclEpGroupConfig_t maskConfig(const Case& facts) {
  ncclEpGroupConfig_t config = groupConfig(facts);
  config.enable_mask = 1;
  config.timeout_ns = kTimeoutNs;
  return config;
}

std::vector<int> queryMask(const Rank& rank, ncclEpGroup_t group) {
  Buffer<int> status(static_cast<size_t>(rank.size));
  EXPECT_EP(ncclSuccess, ncclEpMaskQuery(group, status.data(), rank.stream));
  synchronize(rank);
  return status.read();
}

int asyncError(ncclEpGroup_t group) {
  int error = -1;
  EXPECT_EP(ncclSuccess, ncclEpGetAsyncError(group, &error));
  return error;
}

World fullWorld(const Case& facts, uint64_t seed) {
  std::mt19937_64 random(seed);
  World world = randomWorld(facts, random);
  for (Input& input : world.inputs) {
    while (input.tokens < facts.maxTokens) input = randomWorld(facts, random).inputs[0];
  }
  return world;
}

class EpMask : public testing::TestWithParam<ncclEpLayout_t> {};

// 7.2: a rank that skips two operations is masked by the others, whose results are right for the experts that remain;
// then it comes back (7.3: an even number, and as many cleans).
TEST_P(EpMask, S72SkippedRankIsMaskedAndComesBack) {
  const Case facts = maskCase(GetParam());
  const World world = fullWorld(facts, 41);
  constexpr int kAbsent = 1;
  Barrier barrier(facts.ranks);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    RoundOptions all;
    RoundOptions survivors;
    survivors.dead.assign(static_cast<size_t>(facts.ranks), false);
    survivors.dead[kAbsent] = true;
    Round before(rank, handle, facts, facts.maxTokens, all), without(rank, handle, facts, facts.maxTokens, survivors);
    before.load(world);
    before.spoil();
    before.all();
    synchronize(rank);
    before.check(world);
    EXPECT_EQ(0, asyncError(group));

    if (rank.rank != kAbsent) {
      without.load(world);
      without.spoil();
      without.all();
      synchronize(rank);
      without.check(world);
      EXPECT_EQ(1, asyncError(group));
      std::vector<int> expected(static_cast<size_t>(facts.ranks), 1);
      expected[kAbsent] = 0;
      EXPECT_EQ(expected, queryMask(rank, group));
      EXPECT_EP(ncclSuccess, ncclEpErrorClear(group));
      EXPECT_EQ(0, asyncError(group));
      // The wait is skipped from now on.
      const auto start = std::chrono::steady_clock::now();
      without.spoil();
      without.all();
      synchronize(rank);
      without.check(world);
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::nanoseconds(kTimeoutNs));
      EXPECT_EQ(0, asyncError(group));
    }
    barrier.meet();
    EXPECT_EP(ncclSuccess, ncclEpMaskClean(group, rank.stream));
    EXPECT_EQ(std::vector<int>(static_cast<size_t>(facts.ranks), 1), queryMask(rank, group));
    // The rank that was masked met nobody in its barriers and clears its bank late: only then may it be sent to.
    barrier.meet();
    before.spoil();
    before.all();
    synchronize(rank);
    before.check(world);
  });
}

// 7.2: a rank that is late in combine only.
TEST_P(EpMask, S72SkippedCombine) {
  const Case facts = maskCase(GetParam());
  const World world = fullWorld(facts, 42);
  constexpr int kAbsent = 3;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    RoundOptions survivors;
    survivors.dead.assign(static_cast<size_t>(facts.ranks), false);
    survivors.dead[kAbsent] = true;
    Round all(rank, handle, facts, facts.maxTokens), without(rank, handle, facts, facts.maxTokens, survivors);
    Round& round = rank.rank == kAbsent ? all : without;
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    round.experts();
    if (rank.rank != kAbsent) {
      EXPECT_EP(ncclSuccess, round.combine());
    }
    synchronize(rank);
    if (rank.rank == kAbsent) return;
    all.load(world);
    round.checkCombine(world);
    EXPECT_EQ(1, asyncError(group));
    EXPECT_EQ(0, queryMask(rank, group)[kAbsent]);
  });
}

// A silenced rank, as a thread: its own calls return, the others mask it.
TEST_P(EpMask, SilencedRank) {
  const Case facts = maskCase(GetParam());
  const World world = fullWorld(facts, 43);
  constexpr int kSilent = 2;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    if (rank.rank == kSilent) {
      EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_SILENCE, kSilent, 1, 0));
    }
    RoundOptions survivors;
    survivors.dead.assign(static_cast<size_t>(facts.ranks), false);
    survivors.dead[kSilent] = true;
    Round round(rank, handle, facts, facts.maxTokens, survivors);
    round.load(world);
    round.spoil();
    round.all();
    synchronize(rank);
    if (rank.rank == kSilent) return;
    round.check(world);
    EXPECT_EQ(1, asyncError(group));
  });
  EXPECT_EQ(0, nccl4jEmuClearFaults());
}

// A rank that misses the messages of one peer masks that peer alone.
TEST_P(EpMask, DroppedMessages) {
  const Case facts = maskCase(GetParam());
  const World world = fullWorld(facts, 44);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    if (rank.rank == 0) {
      EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DROP_MESSAGES, 0, 1, 3));
    }
    Round round(rank, handle, facts, facts.maxTokens);
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    EXPECT_EQ(rank.rank == 0 ? 0 : 1, queryMask(rank, group)[3]);
    EXPECT_EQ(rank.rank == 0 ? 1 : 0, asyncError(group));
  });
  EXPECT_EQ(0, nccl4jEmuClearFaults());
}

// A rank that is late, not gone: the others mask it, but what they sent it is still there when it comes.
TEST_P(EpMask, LateRankStillFindsItsMessages) {
  const Case facts = maskCase(GetParam());
  const World world = fullWorld(facts, 49);
  constexpr int kLate = 1;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    if (rank.rank == kLate) {
      EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DELAY, kLate, 1, 3 * kTimeoutNs / 1'000'000));
    }
    RoundOptions survivors;
    survivors.dead.assign(static_cast<size_t>(facts.ranks), false);
    survivors.dead[kLate] = rank.rank != kLate;
    Round round(rank, handle, facts, facts.maxTokens, survivors);
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    round.checkDispatch(world);
    EXPECT_EQ(rank.rank == kLate ? 0 : 1, asyncError(group));
  });
  EXPECT_EQ(0, nccl4jEmuClearFaults());
}

// 6.1: MaskQuery may be captured; and pinned memory is read when the update runs.
TEST(EpMaskParity, S61CapturedQueryAndPinnedUpdate) {
  const Case facts = maskCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Buffer<int> status(4);
    int* pinned = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaMallocHost(reinterpret_cast<void**>(&pinned), 4 * sizeof(int)));
    const std::vector<std::vector<int>> masks = {{1, 0, 1, 1}, {1, 1, 0, 0}, {1, 1, 1, 1}};
    {
      Captured graph(rank, [&] {
        EXPECT_EP(ncclSuccess, ncclEpMaskUpdate(group, pinned, rank.stream));
        EXPECT_EP(ncclSuccess, ncclEpMaskQuery(group, status.data(), rank.stream));
      });
      for (const auto& mask : masks) {
        std::copy(mask.begin(), mask.end(), pinned);
        graph.launch(rank);
        synchronize(rank);
        EXPECT_EQ(mask, status.read());
      }
    }
    EXPECT_CUDA(cudaSuccess, cudaFreeHost(pinned));
  });
}

// MaskUpdate decides alone who takes part; values other than 0 are active.
TEST_P(EpMask, S71UpdateMasksByHand) {
  const Case facts = maskCase(GetParam());
  const World world = fullWorld(facts, 45);
  constexpr int kAbsent = 0;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    std::vector<int> mask(static_cast<size_t>(facts.ranks), 7);
    mask[kAbsent] = 0;
    EXPECT_EP(ncclSuccess, ncclEpMaskUpdate(group, mask.data(), rank.stream));
    mask.assign(mask.size(), 0);  // pageable memory is staged by the call
    RoundOptions survivors;
    survivors.dead.assign(static_cast<size_t>(facts.ranks), false);
    survivors.dead[kAbsent] = true;
    Round round(rank, handle, facts, facts.maxTokens, survivors);
    round.load(world);
    round.spoil();
    if (rank.rank == kAbsent) return;
    round.all();
    synchronize(rank);
    round.check(world);
    EXPECT_EQ(0, asyncError(group));
    EXPECT_EQ((std::vector<int>{0, 1, 1, 1}), queryMask(rank, group));
  });
}

INSTANTIATE_TEST_SUITE_P(Layouts, EpMask, testing::Values(NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR));

// 7.3: a rank that missed one operation has the wrong bank and is not heard.
TEST(EpMaskParity, S73OddNumberOfMissedOperations) {
  const Case facts = maskCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  const World world = fullWorld(facts, 46);
  constexpr int kAbsent = 1;
  Barrier barrier(facts.ranks);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, facts.maxTokens);
    round.load(world);
    EXPECT_EP(ncclSuccess, round.update());
    if (rank.rank != kAbsent) {
      EXPECT_EP(ncclSuccess, round.dispatch());
    }
    synchronize(rank);
    barrier.meet();
    EXPECT_EP(ncclSuccess, ncclEpMaskClean(group, rank.stream));
    barrier.meet();
    EXPECT_EP(ncclSuccess, ncclEpErrorClear(group));
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    EXPECT_EQ(1, asyncError(group));
    EXPECT_EQ(rank.rank == kAbsent ? 1 : 0, queryMask(rank, group)[kAbsent]);
  });
}

// 7.1: MaskClean masks nobody for good and sets no error when a rank does not come.
TEST(EpMaskParity, S71CleanWithoutARank) {
  const Case facts = maskCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, maskConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    if (rank.rank == 3) return;
    EXPECT_EP(ncclSuccess, ncclEpMaskClean(group, rank.stream));
    EXPECT_EQ(0, asyncError(group));
    EXPECT_EQ(std::vector<int>(4, 1), queryMask(rank, group));
  });
}

// 7.1: who is refused, and how.
TEST(EpMaskParity, S71Refusals) {
  const Option report("misuse", "report");
  const Case facts = maskCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  asThreads(1, [&](Rank& rank) {
    Case one = facts;
    one.ranks = 1;
    int value = 0;
    int host[1] = {1};
    Buffer<int> device(1);
    EXPECT_EP(ncclInternalError, ncclEpMaskQuery(nullptr, device.data(), rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpMaskUpdate(nullptr, host, rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpMaskClean(nullptr, rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGetAsyncError(nullptr, &value));
    EXPECT_EP(ncclInternalError, ncclEpErrorClear(nullptr));
    {
      Group plain(rank, groupConfig(one));
      EXPECT_EP(ncclInvalidUsage, ncclEpMaskQuery(plain, device.data(), rank.stream));
      EXPECT_EP(ncclInvalidUsage, ncclEpMaskUpdate(plain, host, rank.stream));
      EXPECT_EP(ncclInvalidUsage, ncclEpMaskClean(plain, rank.stream));
      EXPECT_EP(ncclInvalidUsage, ncclEpGetAsyncError(plain, &value));
      EXPECT_EP(ncclInvalidUsage, ncclEpErrorClear(plain));
    }
    {
      Case ht = one;
      ht.ll = false;
      ht.layout = NCCL_EP_LAYOUT_FLAT;
      Group masked(rank, maskConfig(ht));
      EXPECT_EP(ncclInternalError, ncclEpMaskQuery(masked, device.data(), rank.stream));
    }
    Group masked(rank, maskConfig(one));
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpMaskQuery(masked, nullptr, rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGetAsyncError(masked, nullptr));
    EXPECT_EP(ncclInternalError, ncclEpMaskClean(masked, rank.stream));  // no LL buffer yet
    for (const auto& record : misuses.since()) EXPECT_EQ(NCCL4J_EMU_END_THROW, record.end) << record.text;
    EXPECT_EQ(3u, misuses.since().size());
  });
}

// 7.2: without masks a time-out traps.
TEST(EpMaskParity, S72TimeoutWithoutMasksTraps) {
  const Option report("misuse", "report");
  const Case facts = maskCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  const World world = fullWorld(facts, 47);
  Barrier barrier(facts.ranks);
  asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroupConfig_t config = groupConfig(facts);
    config.timeout_ns = kTimeoutNs;
    ncclEpGroup_t group = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto round = std::make_unique<Round>(rank, handle, facts, facts.maxTokens);
    round->load(world);
    EXPECT_EP(ncclSuccess, round->update());
    if (rank.rank != 2) {
      EXPECT_EP(ncclSuccess, round->dispatch());
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
      char text[1024];
      EXPECT_EQ(0, nccl4jEmuErrorText(rank.rank, text, sizeof text));
      EXPECT_NE(nullptr, std::strstr(text, "rank 2")) << text;
    }
    barrier.meet();
    round.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
  });
}

// 3.8: less than a millisecond is no time at all.
TEST(EpMaskParity, S38TimeoutBelowAMillisecond) {
  const Case facts = maskCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  const World world = fullWorld(facts, 48);
  Barrier barrier(facts.ranks);
  asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroupConfig_t config = maskConfig(facts);
    config.timeout_ns = 999'999;
    Group group(rank, config);
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, facts.maxTokens);
    round.load(world);
    EXPECT_EP(ncclSuccess, round.update());
    if (rank.rank == 0) {  // alone: the others cannot be there
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
      EXPECT_EQ((std::vector<int>{1, 0, 0, 0}), queryMask(rank, group));
      EXPECT_EQ(1, asyncError(group));
    }
    barrier.meet();
  });
}

}  // namespace
}  // namespace ep_test
