// 5.8: send_only and Complete, and the group-wide epoch.
#include <atomic>

#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

Case stagedCase(ncclEpLayout_t layout) {
  Case facts;
  facts.layout = layout;
  facts.ranks = 4;
  facts.experts = 16;
  facts.topk = 3;
  facts.maxTokens = 8;
  return facts;
}

class EpStaged : public testing::TestWithParam<ncclEpLayout_t> {};

// Staged and whole operations in any mix, the same on every rank.
TEST_P(EpStaged, S58MixesWithWholeOperations) {
  const Case facts = stagedCase(GetParam());
  std::mt19937_64 random(31);
  std::vector<World> worlds;
  for (int i = 0; i < 6; ++i) worlds.push_back(randomWorld(facts, random));
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    for (size_t i = 0; i < worlds.size(); ++i) {
      Round round(rank, handle, facts, worlds[i].inputs[rank.rank].tokens);
      round.load(worlds[i]);
      round.spoil();
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(ncclSuccess, round.dispatch(i % 2 == 0));
      EXPECT_EP(ncclSuccess, round.complete());  // nothing to do after a whole operation
      round.experts();
      EXPECT_EP(ncclSuccess, round.combine(i % 3 == 0));
      EXPECT_EP(ncclSuccess, round.complete());
      EXPECT_EP(ncclSuccess, round.complete());
      synchronize(rank);
      round.check(worlds[i]);
    }
  });
}

// The send half needs no peer: it ends before any of them has called.
TEST_P(EpStaged, S58SendHalfWaitsForNobody) {
  const Case facts = stagedCase(GetParam());
  std::mt19937_64 random(32);
  const World world = randomWorld(facts, random);
  std::atomic<int> sent{0};
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, world.inputs[rank.rank].tokens);
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch(true));
    synchronize(rank);
    // Counters are zeroed and received ids cleared by the send half, the rest is untouched.
    if (facts.expertMajor()) {
      for (const int32_t count : round.counters().read<int32_t>()) EXPECT_EQ(0, count);
    }
    for (const unsigned char byte : round.received().read<unsigned char>()) ASSERT_EQ(0x5a, byte);
    ++sent;
    EXPECT_EP(ncclSuccess, round.complete());
    round.experts();
    EXPECT_EP(ncclSuccess, round.combine());
    synchronize(rank);
    round.check(world);
  });
  EXPECT_EQ(facts.ranks, sent);
}

INSTANTIATE_TEST_SUITE_P(Layouts, EpStaged, testing::Values(NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR));

// A second LL operation of the group while a send half is pending traps, also on another handle.
TEST(EpStagedTrap, S58TwoPendingSends) {
  const Option report("misuse", "report");
  for (const bool otherHandle : {false, true}) {
    Case facts = stagedCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
    facts.ranks = 1;
    std::mt19937_64 random(33);
    const World world = randomWorld(facts, random);
    asThreads(1, [&](Rank& rank) {
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = groupConfig(facts);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t first = nullptr, second = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&first, group, facts.layout, nullptr, facts.topk, nullptr));
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&second, group, facts.layout, nullptr, facts.topk, nullptr));
      auto a = std::make_unique<Round>(rank, first, facts, world.inputs[0].tokens);
      auto b = std::make_unique<Round>(rank, otherHandle ? second : first, facts, world.inputs[0].tokens);
      a->load(world);
      b->load(world);
      EXPECT_EP(ncclSuccess, a->update());
      EXPECT_EP(ncclSuccess, b->update());
      EXPECT_EP(ncclSuccess, a->dispatch(true));
      synchronize(rank);
      EXPECT_EP(ncclSuccess, b->dispatch(otherHandle));
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
      a.reset();
      b.reset();
      EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(first));
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(second));
      EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    });
  }
}

// C21: destroying the handle drops the continuation, and the group stays in flight.
TEST(EpStagedTrap, C21DestroyedHandleLeavesTheSendInFlight) {
  const Option report("misuse", "report");
  Case facts = stagedCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  facts.ranks = 1;
  std::mt19937_64 random(34);
  const World world = randomWorld(facts, random);
  asThreads(1, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto round = std::make_unique<Round>(rank, handle, facts, world.inputs[0].tokens);
    round->load(world);
    EXPECT_EP(ncclSuccess, round->update());
    EXPECT_EP(ncclSuccess, round->dispatch(true));
    synchronize(rank);
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto other = std::make_unique<Round>(rank, handle, facts, world.inputs[0].tokens);
    other->load(world);
    EXPECT_EP(ncclSuccess, other->update());
    EXPECT_EP(ncclSuccess, other->dispatch());
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
    round.reset();
    other.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
  });
}

// C19: Complete ignores its stream argument; the receive half follows the original call's stream.
TEST(EpStagedTrap, C19CompleteKeepsTheOriginalStream) {
  Case facts = stagedCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  facts.ranks = 1;
  std::mt19937_64 random(35);
  const World world = randomWorld(facts, random);
  asThreads(1, [&](Rank& rank) {
    EXPECT_EQ(0, nccl4jEmuTimeline(64));
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, world.inputs[0].tokens);
    round.load(world);
    round.spoil();
    cudaStream_t other = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&other));
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch(true));
    EXPECT_EP(ncclSuccess, ncclEpComplete(handle, nullptr, other));
    round.experts();
    EXPECT_EP(ncclSuccess, round.combine());
    synchronize(rank);
    round.check(world);
    std::vector<nccl4jEmuWork_t> work(64);
    work.resize(nccl4jEmuWork(1, work.data(), work.size()));
    bool seen = false;
    for (const nccl4jEmuWork_t& item : work) {
      if (std::strcmp(item.operation, "ncclEpDispatch receive") != 0) continue;
      seen = true;
      EXPECT_EQ(reinterpret_cast<uint64_t>(rank.stream), item.stream);
    }
    EXPECT_TRUE(seen);
    EXPECT_EQ(0, nccl4jEmuTimeline(0));
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(other));
  });
}

// The receive half reads the data pointers from the caller's descriptors when Complete is called.
TEST(EpStagedTrap, S58CompleteReadsDescriptorsAgain) {
  Case facts = stagedCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.ranks = 1;
  std::mt19937_64 random(36);
  World world = randomWorld(facts, random);
  while (world.inputs[0].tokens == 0) world = randomWorld(facts, random);
  asThreads(1, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, world.inputs[0].tokens);
    Tensor elsewhere(facts.type, {static_cast<size_t>(facts.local()), facts.maxTokens, facts.hidden});
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch(true));
    void* const before = round.received()->data;
    round.received()->data = elsewhere->data;
    EXPECT_EP(ncclSuccess, round.complete());
    round.received()->data = before;
    synchronize(rank);
    for (const unsigned char byte : round.received().read<unsigned char>()) ASSERT_EQ(0x5a, byte);
    std::memcpy(before, elsewhere->data, elsewhere.bytes());
    for (size_t i = 0; i < elsewhere.bytes(); ++i) {
      if (elsewhere.raw<unsigned char>()[i] != 0) return;  // something arrived there
    }
    ADD_FAILURE() << "nothing arrived at the new address";
  });
}

// HT ignores send_only, and Complete does nothing.
TEST(EpStagedTrap, S54HtIgnoresSendOnly) {
  Case facts = stagedCase(NCCL_EP_LAYOUT_FLAT);
  facts.ll = false;
  facts.maxReceive = 200;
  std::mt19937_64 random(37);
  const World world = randomWorld(facts, random);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, world.inputs[rank.rank].tokens);
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch(true));
    round.experts();
    EXPECT_EP(ncclSuccess, round.combine(true));
    synchronize(rank);
    EXPECT_EP(ncclSuccess, round.complete());
    round.check(world);
  });
}

}  // namespace
}  // namespace ep_test
