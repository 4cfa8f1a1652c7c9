// Section 6: captured steps, replayed with other inputs, several handles, interleaved with eager steps.
#include "ep_round.h"
#include "held_stream.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

// Worlds whose ranks have the full number of tokens each: T is fixed by the capture.
std::vector<World> fullWorlds(const Case& facts, size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<World> worlds;
  while (worlds.size() < count) {
    World world = randomWorld(facts, random);
    pad(world);
    worlds.push_back(std::move(world));
  }
  return worlds;
}

void replayWithOtherInputs(const Case& facts, bool window, bool staged) {
  const auto worlds = fullWorlds(facts, 8, 4711);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    {
      Handle handle(group, facts.layout, facts.topk, facts.alignment);
      RoundOptions options;
      options.window = window;
      options.captured = true;
      Round round(rank, handle, facts, facts.maxTokens, options);
      round.load(worlds[0]);
      Captured graph(rank, [&] {
        EXPECT_EP(ncclSuccess, round.update());
        EXPECT_EP(ncclSuccess, round.dispatch(staged));
        EXPECT_EP(ncclSuccess, round.complete());
        round.experts();
        EXPECT_EP(ncclSuccess, round.combine(staged));
        EXPECT_EP(ncclSuccess, round.complete());
      });
      for (const World& world : worlds) {
        round.load(world);
        round.spoil();
        graph.launch(rank);
        synchronize(rank);
        round.check(world);
      }
    }
  });
}

Case llCase(ncclEpLayout_t layout) {
  Case facts;
  facts.layout = layout;
  facts.ranks = 4;
  facts.experts = 16;
  facts.topk = 4;
  facts.maxTokens = 12;
  return facts;
}

Case htCase(ncclEpLayout_t layout) {
  Case facts = llCase(layout);
  facts.ll = false;
  facts.hidden = 64;
  facts.alignment = layout == NCCL_EP_LAYOUT_EXPERT_MAJOR ? 4 : 1;
  facts.maxReceive = 4 * 12 * 4 + 16;
  return facts;
}

TEST(EpGraph, S64ReplaysLlExpertMajor) { replayWithOtherInputs(llCase(NCCL_EP_LAYOUT_EXPERT_MAJOR), false, false); }
TEST(EpGraph, S64ReplaysLlRankMajor) { replayWithOtherInputs(llCase(NCCL_EP_LAYOUT_RANK_MAJOR), false, false); }
TEST(EpGraph, S64ReplaysLlStaged) { replayWithOtherInputs(llCase(NCCL_EP_LAYOUT_EXPERT_MAJOR), false, true); }
TEST(EpGraph, S64ReplaysHtFlat) { replayWithOtherInputs(htCase(NCCL_EP_LAYOUT_FLAT), false, false); }
TEST(EpGraph, S64ReplaysHtFlatInWindows) { replayWithOtherInputs(htCase(NCCL_EP_LAYOUT_FLAT), true, false); }
TEST(EpGraph, S64ReplaysHtExpertMajor) { replayWithOtherInputs(htCase(NCCL_EP_LAYOUT_EXPERT_MAJOR), false, false); }

// 6.2, 4.4: an LL update records nothing, the contents of topk_idx are read when dispatch and combine run.
TEST(EpGraph, S62LlReadsRoutingAtReplay) {
  const Case facts = llCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  const auto worlds = fullWorlds(facts, 3, 99);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, facts.maxTokens);
    round.load(worlds[0]);
    EXPECT_EP(ncclSuccess, round.update());  // outside: the graph has no node for it anyway
    Captured graph(rank, [&] {
      EXPECT_EP(ncclSuccess, round.dispatch());
      round.experts();
      EXPECT_EP(ncclSuccess, round.combine());
    });
    for (const World& world : worlds) {
      round.load(world);
      round.spoil();
      graph.launch(rank);
      synchronize(rank);
      round.check(world);
    }
  });
}

// 6.3: any number and mix of operations per graph, between eager ones, since the epoch lies on the device.
TEST(EpGraph, S63OddGraphsInterleaveWithEagerSteps) {
  const Case facts = llCase(NCCL_EP_LAYOUT_RANK_MAJOR);
  const auto worlds = fullWorlds(facts, 6, 5);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle first(group, facts.layout, facts.topk), second(group, facts.layout, facts.topk);
    Round a(rank, first, facts, facts.maxTokens), b(rank, second, facts, facts.maxTokens);
    a.load(worlds[0]);
    b.load(worlds[0]);
    EXPECT_EP(ncclSuccess, a.update());
    EXPECT_EP(ncclSuccess, b.update());
    Captured dispatchOnly(rank, [&] { EXPECT_EP(ncclSuccess, a.dispatch()); });
    Captured three(rank, [&] {
      EXPECT_EP(ncclSuccess, b.dispatch());
      b.experts();
      EXPECT_EP(ncclSuccess, b.combine());
      EXPECT_EP(ncclSuccess, b.dispatch());
    });
    for (const World& world : worlds) {
      a.load(world);
      b.load(world);
      a.spoil();
      b.spoil();
      dispatchOnly.launch(rank);
      three.launch(rank);
      a.experts();
      EXPECT_EP(ncclSuccess, a.combine());
      synchronize(rank);
      a.check(world);
      b.check(world);
    }
  });
}

// 4.7, 6.5: D(A), D(B), C(A), C(B) with two handles of a group.
void twoHandles(const Case& facts) {
  const auto worlds = fullWorlds(facts, 4, 17);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle first(group, facts.layout, facts.topk, facts.alignment), second(group, facts.layout, facts.topk, facts.alignment);
    Round a(rank, first, facts, facts.maxTokens), b(rank, second, facts, facts.maxTokens);
    for (size_t i = 0; i + 1 < worlds.size(); ++i) {
      a.load(worlds[i]);
      b.load(worlds[i + 1]);
      a.spoil();
      b.spoil();
      EXPECT_EP(ncclSuccess, a.update());
      EXPECT_EP(ncclSuccess, b.update());
      EXPECT_EP(ncclSuccess, a.dispatch());
      EXPECT_EP(ncclSuccess, b.dispatch());
      a.experts();
      b.experts();
      EXPECT_EP(ncclSuccess, a.combine());
      EXPECT_EP(ncclSuccess, b.combine());
      synchronize(rank);
      a.check(worlds[i]);
      b.check(worlds[i + 1]);
    }
  });
}

TEST(EpGraph, S65TwoLlHandles) { twoHandles(llCase(NCCL_EP_LAYOUT_EXPERT_MAJOR)); }
TEST(EpGraph, S65TwoHtHandles) { twoHandles(htCase(NCCL_EP_LAYOUT_FLAT)); }
TEST(EpGraph, S65TwoHtExpertMajorHandles) { twoHandles(htCase(NCCL_EP_LAYOUT_EXPERT_MAJOR)); }

// 6.1: a dispatch without a receive budget cannot be captured, and says so before anything is enqueued.
TEST(EpGraph, S61EagerDispatchIsNotCaptured) {
  Case facts = htCase(NCCL_EP_LAYOUT_FLAT);
  facts.maxReceive = 0;
  const auto worlds = fullWorlds(facts, 1, 3);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, facts.maxTokens);
    round.load(worlds[0]);
    EXPECT_EP(ncclSuccess, round.update());
    synchronize(rank);
    cudaGraph_t graph = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
    EXPECT_EP(ncclInvalidUsage, round.dispatch());
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph));
    EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
    round.spoil();
    round.all();
    synchronize(rank);
    round.check(worlds[0]);
  });
}

// 5.5.3: a plain FLAT dispatch outside a capture waits on the host, one into windows or in LocalPermute does not.
TEST(EpGraph, S553HostWaits) {
  struct Expected {
    ncclEpLayout_t layout;
    bool window;
    bool waits;
  };
  for (const Expected& expected : {Expected{NCCL_EP_LAYOUT_FLAT, false, true}, Expected{NCCL_EP_LAYOUT_FLAT, true, false},
                                   Expected{NCCL_EP_LAYOUT_EXPERT_MAJOR, false, false}}) {
    Case facts = htCase(expected.layout);
    facts.ranks = 1;
    facts.experts = 4;
    const auto worlds = fullWorlds(facts, 1, 3);
    asThreads(1, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk, facts.alignment);
      RoundOptions options;
      options.window = expected.window;
      Round round(rank, handle, facts, facts.maxTokens, options);
      round.load(worlds[0]);
      round.spoil();
      synchronize(rank);
      // The update is held until the wait has begun, or dispatch has returned without one.
      HeldStream held(rank.stream);
      EXPECT_EP(ncclSuccess, round.update());
      if (expected.waits) held.openAtWait();
      EXPECT_EP(ncclSuccess, round.dispatch());
      EXPECT_EQ(expected.waits ? 1u : 0u, held.waits());
      held.open();
      round.experts();
      EXPECT_EP(ncclSuccess, round.combine());
      synchronize(rank);
      round.check(worlds[0]);
    });
  }
}

// A buffer freed under a captured graph is an illegal address at replay, named in the error's text.
TEST(EpGraph, FreedTensorIsIllegalAtReplay) {
  Case facts = llCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.ranks = 1;
  facts.experts = 4;
  const auto worlds = fullWorlds(facts, 1, 3);
  asThreads(1, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto round = std::make_unique<Round>(rank, handle, facts, facts.maxTokens);
    round->load(worlds[0]);
    EXPECT_EP(ncclSuccess, round->update());
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
    EXPECT_EP(ncclSuccess, round->dispatch());
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph));
    ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
    round.reset();
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
    EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(rank.stream));
    char text[1024];
    EXPECT_EQ(0, nccl4jEmuErrorText(0, text, sizeof text));
    EXPECT_NE(nullptr, std::strstr(text, "ncclEpDispatch on rank 0: topk_idx")) << text;
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    const Option report("misuse", "report");
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));  // its memory went with the device
  });
}

}  // namespace
}  // namespace ep_test
