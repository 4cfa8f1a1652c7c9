// HT expert-major modes (3.6, 5.5, 5.6, 5.10), windows and zero copy (5.9), overflow (4.5).
#include <algorithm>

#include "ep/introspection.h"
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

Case dupCase(Mode mode) {
  Case facts;
  facts.ll = false;
  facts.mode = mode;
  facts.layout = NCCL_EP_LAYOUT_EXPERT_MAJOR;
  facts.ranks = 4;
  facts.experts = 16;
  facts.topk = 4;
  facts.maxTokens = 8;
  facts.hidden = 64;
  facts.alignment = 4;
  facts.maxReceive = 4 * 8 * 4 + 16;
  return facts;
}

const char* variableOf(Mode mode) {
  return mode == Mode::LocalDup ? "NCCL_EP_HT_EM_LOCAL_DUP" : "NCCL_EP_HT_EM_NVLINK_DUP";
}

void runMode(const Case& facts, uint64_t seed, RoundOptions options = {}) {
  std::mt19937_64 random(seed);
  std::vector<World> worlds;
  for (int i = 0; i < 4; ++i) worlds.push_back(randomWorld(facts, random, false, i % 2 == 0 ? 1.0 : 2.0));
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    for (const World& world : worlds) {
      Round round(rank, handle, facts, world.inputs[rank.rank].tokens, options);
      round.load(world);
      round.spoil();
      round.all();
      synchronize(rank);
      round.check(world);
    }
  });
}

TEST(EpModes, S36LocalDup) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "on");
  runMode(dupCase(Mode::LocalDup), 1);
}

TEST(EpModes, S36NvlinkDup) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_NVLINK_DUP", "TRUE");
  runMode(dupCase(Mode::NvlinkDup), 2);
}

TEST(EpModes, S36BothFlagsAreRefused) {
  const EnvironmentVariable local("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  const EnvironmentVariable nvlink("NCCL_EP_HT_EM_NVLINK_DUP", "1");
  asThreads(2, [&](Rank& rank) {
    const ncclEpGroupConfig_t config = groupConfig([] {
      Case facts = dupCase(Mode::LocalDup);
      facts.ranks = 2;
      return facts;
    }());
    ncclEpGroup_t group = nullptr;
    EXPECT_EP(ncclInvalidUsage, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_NE(nullptr, group);  // 3.1 step 6
  });
}

// 5.9: windowed outputs and inputs of every layout.
TEST(EpModes, S59Windows) {
  RoundOptions options;
  options.window = true;
  runMode(dupCase(Mode::Permute), 3, options);
  Case flat = dupCase(Mode::Permute);
  flat.layout = NCCL_EP_LAYOUT_FLAT;
  flat.alignment = 1;
  runMode(flat, 4, options);
  Case ll;
  ll.layout = NCCL_EP_LAYOUT_RANK_MAJOR;
  ll.ranks = 4;
  runMode(ll, 5, options);
}

// 3.6, 5.9: zero copy makes LocalDup; FLAT handles are not affected.
TEST(EpModes, S59ZeroCopyOn) {
  RoundOptions options;
  options.window = true;
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_FLAT}) {
    Case facts = dupCase(Mode::LocalDup);
    facts.layout = layout;
    if (layout == NCCL_EP_LAYOUT_FLAT) facts.alignment = 1;
    std::mt19937_64 random(6);
    const World world = randomWorld(facts, random);
    asThreads(facts.ranks, [&](Rank& rank) {
      ncclEpGroupConfig_t config = groupConfig(facts);
      config.zero_copy = NCCL_EP_ZERO_COPY_ON;
      Group group(rank, config);
      Handle handle(group, facts.layout, facts.topk, facts.alignment);
      Round round(rank, handle, facts, world.inputs[rank.rank].tokens, options);
      round.load(world);
      round.spoil();
      round.all();
      synchronize(rank);
      round.check(world);
      // Without windows every rank is refused, before anything is enqueued.
      Round plain(rank, handle, facts, world.inputs[rank.rank].tokens);
      plain.load(world);
      EXPECT_EP(ncclSuccess, plain.update());
      synchronize(rank);
      EXPECT_EP(ncclInvalidArgument, plain.dispatch());
      EXPECT_EP(ncclInvalidArgument, plain.combine());
    });
  }
}

// 5.9: LocalDup adds a token's rows up in its first slot, in the caller's windowed input.
TEST(EpModes, S59LocalDupAddsUpInPlace) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  Case facts = dupCase(Mode::LocalDup);
  facts.ranks = 1;
  facts.experts = 4;
  facts.topk = 2;
  facts.maxTokens = 4;
  facts.alignment = 1;
  facts.maxReceive = 16;
  World world;
  world.facts = facts;
  world.inputs.resize(1);
  Input& input = world.inputs[0];
  input.tokens = 2;
  input.ids = {3, 1, 2, -1};
  input.weights = {1.0f, 2.0f, 1.0f, 0.0f};
  input.rows.assign(2 * facts.hidden, 4.0f);
  encodeRows(world);
  for (const bool window : {true, false}) {
    asThreads(1, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk, 1);
      RoundOptions options;
      options.window = window;
      Round round(rank, handle, facts, 2, options);
      round.load(world);
      round.spoil();
      round.all();
      synchronize(rank);
      round.check(world);
      // Rows: expert 1 token 0, expert 2 token 1, expert 3 token 0.
      const float first = rounded(facts.type, 2.0f * expertValue(facts, 1, 4.0f));
      const float third = rounded(facts.type, expertValue(facts, 3, 4.0f));
      const auto row = [&](size_t i) {
        return decode(facts.type, round.returned().raw<unsigned char>() + i * facts.hidden * 2);
      };
      EXPECT_EQ(window ? rounded(facts.type, first + third) : first, row(0));
      EXPECT_EQ(third, row(2));
    });
  }
}

// 5.6: what the slot map holds.
TEST(EpModes, S56SlotMaps) {
  for (const Mode mode : {Mode::Permute, Mode::LocalDup, Mode::NvlinkDup}) {
    std::unique_ptr<EnvironmentVariable> variable;
    if (mode != Mode::Permute) variable = std::make_unique<EnvironmentVariable>(variableOf(mode), "1");
    const Case facts = dupCase(mode);
    std::mt19937_64 random(8);
    const World world = randomWorld(facts, random);
    const auto layouts = htLayouts(world);
    asThreads(facts.ranks, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk, facts.alignment);
      Round round(rank, handle, facts, world.inputs[rank.rank].tokens);
      round.load(world);
      EXPECT_EP(ncclSuccess, round.update());
      synchronize(rank);
      const int32_t* const map = ncclEpHandle_test_getSparseToDenseMap(handle);
      const size_t columns = mode == Mode::Permute ? static_cast<size_t>(facts.ranks) : static_cast<size_t>(facts.topk);
      for (size_t t = 0; t < facts.maxTokens; ++t) {
        std::vector<int32_t> expected;
        const bool routed = t < world.inputs[rank.rank].tokens;
        for (int d = 0; d < facts.ranks; ++d) {
          if (mode == Mode::Permute) {
            expected.push_back(routed ? static_cast<int32_t>(flatSlot(layouts[d], rank.rank, t)) : -1);
            continue;
          }
          for (size_t i = 0; routed && i < layouts[d].rows.size(); ++i) {
            const auto& row = layouts[d].rows[i];
            if (row && row->source == rank.rank && row->token == t) {
              expected.push_back(static_cast<int32_t>(d << 22 | static_cast<int>(i)));
            }
          }
        }
        expected.resize(columns, -1);
        EXPECT_EQ(expected, std::vector<int32_t>(map + t * columns, map + (t + 1) * columns))
            << facts.describe() << " token " << t;
      }
      unsigned received = 0;
      EXPECT_EP(ncclSuccess, ncclEpHandle_test_getNumRecvTokens(handle, &received));
      EXPECT_EQ(layouts[rank.rank].rows.size(), received);
      EXPECT_EQ(facts.topk, ncclEpHandle_test_getNumTopk(handle));
      EXPECT_EQ(static_cast<int>(facts.maxTokens), ncclEpHandle_test_getMaxTokensPerRank(handle));
      EXPECT_EQ(facts.ranks, ncclEpHandle_test_getNRanksPerNode(handle));
      EXPECT_EQ(facts.local(), ncclEpHandle_test_getExpertsPerRank(handle));
    });
  }
}

// 4.5: DROP in every mode.
TEST(EpModes, S45DropInDupModes) {
  for (const Mode mode : {Mode::LocalDup, Mode::NvlinkDup}) {
    const EnvironmentVariable variable(variableOf(mode), "1");
    Case facts = dupCase(mode);
    facts.drop = true;
    std::mt19937_64 random(9);
    for (const size_t budget : {size_t{128}, size_t{132}, size_t{144}}) {
      facts.maxReceive = budget;  // 2.6: no less than R*B*K
      const World world = randomWorld(facts, random, false, 4.0);
      asThreads(facts.ranks, [&](Rank& rank) {
        Group group(rank, groupConfig(facts));
        Handle handle(group, facts.layout, facts.topk, facts.alignment);
        Round round(rank, handle, facts, world.inputs[rank.rank].tokens);
        round.load(world);
        round.spoil();
        round.all();
        synchronize(rank);
        round.check(world);
      });
    }
  }
}

// 2.6 item 9: a dup-mode group without zero copy demands M >= R*B*K, of FLAT handles too.
TEST(EpModes, S26DupModesDemandTheWorstCase) {
  const Option report("misuse", "report");
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  Case facts = dupCase(Mode::LocalDup);
  facts.maxReceive = 127;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_FLAT, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
      ncclEpHandle_t handle = nullptr;
      EXPECT_EP(ncclInternalError, ncclEpInitHandle(&handle, group, layout, nullptr, facts.topk, nullptr));
      ASSERT_NE(nullptr, handle);
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    }
  });
}

// 4.5: overflow traps on the rank that overflows, and everywhere in dup modes.
TEST(EpModes, S45OverflowTraps) {
  const Option report("misuse", "report");
  const Option limit("wait_limit_ms", "20000");
  for (const bool dup : {false, true}) {
    std::unique_ptr<EnvironmentVariable> variable;
    if (dup) variable = std::make_unique<EnvironmentVariable>("NCCL_EP_HT_EM_LOCAL_DUP", "1");
    Case facts = dupCase(dup ? Mode::LocalDup : Mode::Permute);
    facts.ranks = 2;
    facts.experts = 4;
    facts.topk = 1;
    facts.maxTokens = 8;
    facts.maxReceive = dup ? 16 : 8;
    facts.alignment = dup ? 16 : 1;
    World world;
    world.facts = facts;
    world.inputs.resize(2);
    for (Input& input : world.inputs) {  // all tokens go to rank 1: to its first expert, or to both of them
      input.tokens = 8;
      for (int t = 0; t < 8; ++t) input.ids.push_back(dup ? 2 + t % 2 : 2);
      input.weights.assign(8, 1.0f);
      input.rows.assign(8 * facts.hidden, 1.0f);
    }
    encodeRows(world);
    asThreads(2, [&](Rank& rank) {
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = groupConfig(facts);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t handle = nullptr;
      auto handleConfig = made<ncclEpHandleConfig_t>();
      handleConfig.dispatch_output_per_expert_alignment = facts.alignment;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, &handleConfig, facts.topk, nullptr));
      auto round = std::make_unique<Round>(rank, handle, facts, 8);
      round->load(world);
      EXPECT_EP(ncclSuccess, round->update());
      const bool traps = dup || rank.rank == 1;
      EXPECT_CUDA(traps ? cudaErrorLaunchFailure : cudaSuccess, cudaStreamSynchronize(rank.stream));
      EXPECT_EQ(traps, overflows(world, rank.rank));
      round.reset();
      EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      // The group's memory went with the device: to free it fails, which the real library answers with an exception.
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    });
  }
}

}  // namespace
}  // namespace ep_test
