// 4.4, 4.6, 5.2, 5.3: LL by hand-made numbers.
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

Case handCase(ncclEpLayout_t layout, int ranks, int topk) {
  Case facts;
  facts.layout = layout;
  facts.ranks = ranks;
  facts.experts = 2 * ranks;
  facts.topk = topk;
  facts.maxTokens = 4;
  facts.type = ncclFloat32;
  return facts;
}

// All rows of rank r's token t hold 100 r + t + 1.
World handWorld(const Case& facts, const std::vector<std::vector<int64_t>>& ids,
                const std::vector<std::vector<float>>& weights) {
  World world;
  world.facts = facts;
  for (size_t r = 0; r < ids.size(); ++r) {
    Input& input = world.inputs.emplace_back();
    input.ids = ids[r];
    input.weights = weights[r];
    input.tokens = ids[r].size() / static_cast<size_t>(facts.topk);
    for (size_t i = 0; i < input.tokens * facts.hidden; ++i) {
      input.rows.push_back(static_cast<float>(100 * r + i / facts.hidden + 1));
    }
  }
  encodeRows(world);
  return world;
}

void onRound(const World& world, const std::function<void(const Rank&, Round&)>& body) {
  asThreads(world.facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(world.facts));
    Handle handle(group, world.facts.layout, world.facts.topk);
    Round round(rank, handle, world);
    round.load(world);
    round.spoil();
    body(rank, round);
  });
}

// 5.2: a source's rows in its own region, ids in the source's order of k, the weights of every k, ids of unused rows
// -1.
TEST(EpLowLatency, S52RankMajorKeepsEveryWeight) {
  const Case facts = handCase(NCCL_EP_LAYOUT_RANK_MAJOR, 2, 3);
  const World world = handWorld(facts, {{3, 0, 2, 1, -1, 0}, {2, 3, -1}}, {{0.5f, 0.25f, 0.125f, 1, 2, 3}, {4, 5, 6}});
  onRound(world, [&](const Rank& rank, Round& round) {
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    const float* weights = round.receivedWeights().raw<float>();
    const float* rows = round.received().raw<float>();
    const int32_t* ids = round.receivedIds().raw<int32_t>();
    const auto expectRow = [&](size_t row, float value, const std::vector<int32_t>& local,
                               const std::vector<float>& all) {
      EXPECT_EQ(value, rows[row * facts.hidden]);
      EXPECT_EQ(local, std::vector<int32_t>(ids + row * 3, ids + row * 3 + 3));
      if (!all.empty()) {
        EXPECT_EQ(all, std::vector<float>(weights + row * 3, weights + row * 3 + 3));
      }
    };
    float untouched;
    std::memset(&untouched, kSpoilt, sizeof untouched);
    const std::vector<int32_t> none{-1, -1, -1};
    if (rank.rank == 0) {
      EXPECT_EQ((std::vector<int32_t>{2, 0}), round.counters().read<int32_t>());
      expectRow(0, 1, {-1, 0, -1}, {0.5f, 0.25f, 0.125f});
      expectRow(1, 2, {1, -1, 0}, {1, 2, 3});
      expectRow(2, untouched, none, {});
      expectRow(4, untouched, none, {});
    } else {
      EXPECT_EQ((std::vector<int32_t>{1, 1}), round.counters().read<int32_t>());
      expectRow(0, 1, {1, -1, 0}, {0.5f, 0.25f, 0.125f});  // once, for two experts
      expectRow(1, untouched, none, {});
      expectRow(4, 101, {0, 1, -1}, {4, 5, 6});
    }
  });
}

// 5.2: one row per (token, k), counted from zero whatever the counters held; an expert named twice has two rows (C3).
TEST(EpLowLatency, S52ExpertMajorZones) {
  const Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR, 2, 2);
  const World world = handWorld(facts, {{1, 1, 0, 3}, {1, -1}}, {{1, 1, 1, 1}, {1, 1}});
  onRound(world, [&](const Rank& rank, Round& round) {
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    const size_t zone = 8 * facts.hidden;
    const float* rows = round.received().raw<float>();
    if (rank.rank == 1) {
      EXPECT_EQ((std::vector<int32_t>{0, 1}), round.counters().read<int32_t>());
      EXPECT_EQ(2, rows[zone]);
      return;
    }
    EXPECT_EQ((std::vector<int32_t>{1, 3}), round.counters().read<int32_t>());
    EXPECT_EQ(2, rows[0]);
    EXPECT_EQ(1, rows[zone]);
    EXPECT_EQ(1, rows[zone + facts.hidden]);
    EXPECT_EQ(101, rows[zone + 2 * facts.hidden]);
  });
}

// 5.3: EXPERT_MAJOR weighs each position, also of an expert named twice; a token without experts is zeros.
TEST(EpLowLatency, S53ExpertMajorWeighsEveryPosition) {
  const Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR, 2, 2);
  const World world = handWorld(facts, {{1, 1, 0, 3, -1, -1}, {}}, {{2, 3, 0.5f, 4, 9, 9}, {}});
  onRound(world, [&](const Rank& rank, Round& round) {
    round.all();
    synchronize(rank);
    if (rank.rank != 0) return;
    const float* out = round.combined().raw<float>();
    EXPECT_EQ(5 * expertValue(facts, 1, 1), out[0]);
    EXPECT_EQ(0.5f * expertValue(facts, 0, 2) + 4 * expertValue(facts, 3, 2), out[facts.hidden]);
    EXPECT_EQ(0, out[2 * facts.hidden]);
    EXPECT_EQ(0, out[3 * facts.hidden - 1]);
  });
}

// 5.3: RANK_MAJOR adds what each rank returns once, with weight 1, however many experts the token has there.
TEST(EpLowLatency, S53RankMajorAddsEachRankOnce) {
  const Case facts = handCase(NCCL_EP_LAYOUT_RANK_MAJOR, 2, 3);
  const World world = handWorld(facts, {{1, 0, 2, -1, -1, -1}, {}}, {{7, 7, 7, 7, 7, 7}, {}});
  onRound(world, [&](const Rank& rank, Round& round) {
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    // What the caller's own reduction would have left: 3 from rank 0, 10 from rank 1.
    round.returned().write(std::vector<float>(facts.hidden, rank.rank == 0 ? 3.0f : 10.0f));
    EXPECT_EP(ncclSuccess, round.combine());
    synchronize(rank);
    if (rank.rank != 0) return;
    EXPECT_EQ(13, round.combined().raw<float>()[0]);
    EXPECT_EQ(0, round.combined().raw<float>()[facts.hidden]);
  });
}

// 4.4, 4.6: LL reads the routing when it runs; any negative id is no expert; either width.
TEST(EpLowLatency, S44RoutesByWhatTheBufferHoldsThen) {
  for (const ncclDataType_t width : {ncclInt32, ncclInt64}) {
    Case facts = handCase(NCCL_EP_LAYOUT_RANK_MAJOR, 2, 2);
    facts.idType = width;
    const World before = handWorld(facts, {{0, 1}, {0, 1}}, {{1, 1}, {1, 1}});
    const World after = handWorld(facts, {{3, -5}, {-1000000, -1}}, {{1, 1}, {1, 1}});
    onRound(before, [&](const Rank& rank, Round& round) {
      EXPECT_EP(ncclSuccess, round.update());
      round.load(after);  // no further update
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
      EXPECT_EQ((std::vector<int32_t>{rank.rank == 1 ? 1 : 0, 0}), round.counters().read<int32_t>());
    });
  }
}

// 4.7: several dispatches after one update, several combines after one dispatch, T different each time.
TEST(EpLowLatency, S47AnyNumberOfOperations) {
  const Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR, 2, 2);
  std::mt19937_64 random(47);
  asThreads(2, [&, worlds = std::vector<World>{randomWorld(facts, random), randomWorld(facts, random)}](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    for (const World& world : worlds) {
      Round round(rank, handle, world);
      round.load(world);
      round.spoil();
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(ncclSuccess, round.dispatch());
      EXPECT_EP(ncclSuccess, round.dispatch());
      round.experts();
      EXPECT_EP(ncclSuccess, round.combine());
      EXPECT_EP(ncclSuccess, round.combine());
      synchronize(rank);
      round.check(world);
    }
  });
}

}  // namespace
}  // namespace ep_test
