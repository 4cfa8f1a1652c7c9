// 4.4, 4.5, 5.5, 5.10: HT by hand-made numbers.
#include <atomic>

#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

Case handCase(ncclEpLayout_t layout, int topk = 2) {
  Case facts;
  facts.ll = false;
  facts.layout = layout;
  facts.ranks = 2;
  facts.experts = 4;
  facts.topk = topk;
  facts.maxTokens = 4;
  facts.maxReceive = 32;
  facts.hidden = 8;
  facts.type = ncclFloat32;
  return facts;
}

// All rows of rank r's token t hold 100 r + t + 1; the weight of position k is 10^-k.
World handWorld(const Case& facts, const std::vector<std::vector<int64_t>>& ids) {
  World world;
  world.facts = facts;
  for (size_t r = 0; r < ids.size(); ++r) {
    Input& input = world.inputs.emplace_back();
    input.ids = ids[r];
    const auto k = static_cast<size_t>(facts.topk);
    input.tokens = ids[r].size() / k;
    for (size_t i = 0; i < ids[r].size(); ++i) input.weights.push_back(i % k == 0 ? 1.0f : i % k == 1 ? 0.5f : 0.25f);
    for (size_t i = 0; i < input.tokens * facts.hidden; ++i) {
      input.rows.push_back(static_cast<float>(100 * r + i / facts.hidden + 1));
    }
  }
  encodeRows(world);
  return world;
}

void onRound(const World& world, const std::function<void(const Rank&, ncclEpHandle_t, Round&)>& body) {
  asThreads(world.facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(world.facts));
    Handle handle(group, world.facts.layout, world.facts.topk, world.facts.alignment);
    Round round(rank, handle, world);
    round.load(world);
    round.spoil();
    body(rank, handle, round);
  });
}

// The first element of each of the first rows.
std::vector<float> firsts(Round& round, size_t rows, size_t hidden) {
  std::vector<float> values;
  for (size_t i = 0; i < rows; ++i) values.push_back(round.received().raw<float>()[i * hidden]);
  return values;
}

// 4.5, 5.5.1: slots by source rank, then token; a token once, its experts ascending, whatever the order of k.
TEST(EpHighThroughput, S551FlatSlotsAndAscendingExperts) {
  for (const bool global : {false, true}) {
    Case facts = handCase(NCCL_EP_LAYOUT_FLAT, 3);
    facts.globalIds = global;
    const World world = handWorld(facts, {{3, 2, 0, 1, -1, -1}, {2, -1, 3, -1, -1, -1}});
    onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
      const int64_t base = global ? 2 : 0;
      const auto ids = round.receivedIds().read<int64_t>();
      const auto weights = round.receivedWeights().read<float>();
      if (rank.rank == 0) {
        EXPECT_EQ((std::vector<float>{1, 2}), firsts(round, 2, facts.hidden));
        EXPECT_EQ((std::vector<int64_t>{0, -1, -1, 1, -1, -1}), std::vector<int64_t>(ids.begin(), ids.begin() + 6));
        EXPECT_EQ((std::vector<float>{0.25f, 0, 0, 1, 0, 0}), std::vector<float>(weights.begin(), weights.begin() + 6));
        EXPECT_EQ((std::vector<int32_t>{1, 1}), round.counters().read<int32_t>());
      } else {
        EXPECT_EQ((std::vector<float>{1, 101}), firsts(round, 2, facts.hidden));
        EXPECT_EQ((std::vector<int64_t>{base, base + 1, -1, base, base + 1, -1}),
                  std::vector<int64_t>(ids.begin(), ids.begin() + 6));
        EXPECT_EQ((std::vector<float>{0.5f, 1, 0, 1, 0.25f, 0}),
                  std::vector<float>(weights.begin(), weights.begin() + 6));
        EXPECT_EQ((std::vector<int32_t>{2, 2}), round.counters().read<int32_t>());
      }
      EXPECT_EQ(2, integerAt(round.total(), 0));
    });
  }
}

// 4.5, 5.5.2: zones padded to the alignment, an empty one not at all; padding rows are zero with weight 0.
TEST(EpHighThroughput, S552PaddedZones) {
  Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.alignment = 4;
  const World world = handWorld(facts, {{1, -1, 3, 2}, {1, 2, 2, -1}});
  onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    const auto weights = round.receivedWeights().read<float>();
    if (rank.rank == 0) {
      EXPECT_EQ((std::vector<int64_t>{0, 4}), round.counters().read<int64_t>());
      EXPECT_EQ((std::vector<int64_t>{0, 0}), round.offsets().read<int64_t>());
      EXPECT_EQ((std::vector<float>{1, 101, 0, 0}), firsts(round, 4, facts.hidden));
      EXPECT_EQ((std::vector<float>{1, 1, 0, 0}), std::vector<float>(weights.begin(), weights.begin() + 4));
    } else {
      EXPECT_EQ((std::vector<int64_t>{4, 4}), round.counters().read<int64_t>());
      EXPECT_EQ((std::vector<int64_t>{0, 4}), round.offsets().read<int64_t>());
      EXPECT_EQ((std::vector<float>{2, 101, 102, 0, 2, 0, 0, 0}), firsts(round, 8, facts.hidden));
      EXPECT_EQ((std::vector<float>{0.5f, 0.5f, 1, 0, 1, 0, 0, 0}),
                std::vector<float>(weights.begin(), weights.begin() + 8));
    }
    EXPECT_EQ(rank.rank == 0 ? 4 : 8, integerAt(round.total(), 0));
  });
}

// 4.5: what DROP reports: the true total, offsets and counters cut at the budget, dropped rows nowhere, zeros at
// combine.
TEST(EpHighThroughput, S45Drop) {
  Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR, 1);
  facts.drop = true;
  facts.maxReceive = 5;
  // Rank 0's experts get 4 and 3 tokens: zones at 0 and 4, of which the second has one row left.
  const World world = handWorld(facts, {{0, 0, 0, 1}, {0, 1, 1, -1}});
  onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
    round.all();
    synchronize(rank);
    round.check(world);
    if (rank.rank == 0) {
      EXPECT_EQ(7, integerAt(round.total(), 0));
      EXPECT_EQ((std::vector<int64_t>{4, 1}), round.counters().read<int64_t>());
      EXPECT_EQ((std::vector<int64_t>{0, 4}), round.offsets().read<int64_t>());
    } else {
      EXPECT_EQ(0, round.combined().raw<float>()[facts.hidden]);  // the token with the last slot of expert 1
    }
  });
  Case flat = handCase(NCCL_EP_LAYOUT_FLAT, 1);
  flat.drop = true;
  flat.maxReceive = 5;
  const World same = handWorld(flat, {{0, 0, 0, 1}, {0, 1, 1, -1}});
  onRound(same, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
    round.all();
    synchronize(rank);
    round.check(same);
    if (rank.rank != 0) return;
    EXPECT_EQ(7, integerAt(round.total(), 0));
    EXPECT_EQ((std::vector<int32_t>{4, 1}), round.counters().read<int32_t>());  // kept tokens only
  });
}

// 4.4: HT takes its own copy of the routing; the caller's buffer is free once the update ran.
TEST(EpHighThroughput, S44KeepsItsOwnRouting) {
  const Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  std::mt19937_64 random(44);
  const World world = randomWorld(facts, random);
  onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
    EXPECT_EP(ncclSuccess, round.update());
    synchronize(rank);
    if (round.routing().bytes() > 0) round.routing().fill(0x7f);
    EXPECT_EP(ncclSuccess, round.dispatch());
    round.experts();
    EXPECT_EP(ncclSuccess, round.combine());
    synchronize(rank);
    round.check(world);
  });
}

// 5.10: in bf16, 256 + 1 rounds to 256, so that it matters where a sum is rounded.
TEST(EpHighThroughput, S510WhereSumsAreRounded) {
  struct Expected {
    Mode mode;
    ncclEpLayout_t layout;
    float value;
  };
  for (const Expected& expected : {Expected{Mode::Permute, NCCL_EP_LAYOUT_EXPERT_MAJOR, 256},
                                   {Mode::LocalDup, NCCL_EP_LAYOUT_EXPERT_MAJOR, 256},
                                   {Mode::NvlinkDup, NCCL_EP_LAYOUT_EXPERT_MAJOR, 258},
                                   {Mode::Permute, NCCL_EP_LAYOUT_FLAT, 258}}) {
    std::optional<EnvironmentVariable> variable;
    if (expected.mode == Mode::LocalDup) variable.emplace("NCCL_EP_HT_EM_LOCAL_DUP", "1");
    if (expected.mode == Mode::NvlinkDup) variable.emplace("NCCL_EP_HT_EM_NVLINK_DUP", "1");
    Case facts = handCase(expected.layout, 4);
    facts.type = ncclBfloat16;
    const World world = handWorld(facts, {{0, 1, 2, -1}, {}});
    onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
      // Rank 0's experts give 256 and 1, or 256 in one FLAT row; rank 1's gives 1, or 2.
      const bool flat = expected.layout == NCCL_EP_LAYOUT_FLAT;
      const float rows[2] = {rank.rank == 0 ? 256.0f : flat ? 2.0f : 1.0f, rank.rank == 0 && !flat ? 1.0f : 0.0f};
      for (size_t i = 0; i < 2 * facts.hidden; ++i) {
        encode(facts.type, rows[i / facts.hidden], round.returned().raw<unsigned char>() + 2 * i);
      }
      EXPECT_EP(ncclSuccess, round.combine());
      synchronize(rank);
      if (rank.rank != 0) return;
      EXPECT_EQ(expected.value, decode(facts.type, round.combined().raw<unsigned char>()));
    });
  }
}

// 5.5.4: ranks without tokens, and a step without any.
TEST(EpHighThroughput, S554ZeroTokens) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_FLAT, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
    for (const size_t budget : {size_t{32}, size_t{0}}) {
      Case facts = handCase(layout);
      facts.maxReceive = budget;
      for (const auto& ids :
           {std::vector<std::vector<int64_t>>{{}, {1, 3}}, std::vector<std::vector<int64_t>>{{}, {}}}) {
        const World world = handWorld(facts, ids);
        onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
          round.all();
          synchronize(rank);
          round.check(world);
        });
      }
    }
  }
}

// 5.5.5: no rank's dispatch ends before every rank has started its own.
TEST(EpHighThroughput, S555DispatchWaitsForEveryRank) {
  Case facts = handCase(NCCL_EP_LAYOUT_EXPERT_MAJOR);
  const World world = handWorld(facts, {{1, 0}, {1, 3}});
  std::atomic<bool> started{false};
  Barrier barrier(2);
  onRound(world, [&](const Rank& rank, ncclEpHandle_t, Round& round) {
    EXPECT_EP(ncclSuccess, round.update());
    synchronize(rank);
    if (rank.rank == 0) {
      EXPECT_EP(ncclSuccess, round.dispatch());  // a fixed budget: the host does not wait
      barrier.meet();
      EXPECT_CUDA(cudaErrorNotReady, cudaStreamQuery(rank.stream));
      started = true;
      barrier.meet();
      synchronize(rank);
    } else {
      barrier.meet();
      barrier.meet();
      EXPECT_TRUE(started);
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
    }
    round.checkDispatch(world);
  });
}

// 5.4: without Update in between, forward and backward use the same maps.
TEST(EpHighThroughput, S54ForwardAndBackwardShareAnUpdate) {
  const Case facts = handCase(NCCL_EP_LAYOUT_FLAT);
  std::mt19937_64 random(54);
  World forward = randomWorld(facts, random), backward = forward;
  backward.unweighted = true;
  onRound(forward, [&](const Rank& rank, ncclEpHandle_t handle, Round& round) {
    round.all();
    synchronize(rank);
    round.check(forward);
    RoundOptions options;
    options.backward = true;
    Round back(rank, handle, backward, options);
    back.load(backward);
    back.spoil();
    EXPECT_EP(ncclSuccess, back.dispatch());
    back.experts();
    EXPECT_EP(ncclSuccess, back.combine());
    synchronize(rank);
    back.checkCombine(backward);
  });
}

}  // namespace
}  // namespace ep_test
