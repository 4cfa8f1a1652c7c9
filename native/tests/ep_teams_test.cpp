// T: several LSA teams.
#include "ep/introspection.h"
#include "held_stream.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

constexpr int kByCode = -1;

// `teams` hosts of `size` ranks each.
Case teamCase(bool ll, ncclEpLayout_t layout, int teams, int size) {
  Case facts;
  facts.ll = ll;
  facts.layout = layout;
  facts.teams = teams;
  facts.ranks = teams * size;
  facts.experts = 4 * facts.ranks;
  facts.topk = 4;
  facts.maxTokens = 8;
  facts.hidden = ll ? 512 : 64;
  if (!ll) facts.maxReceive = static_cast<size_t>(facts.ranks) * facts.maxTokens * 4;
  return facts;
}

std::string devicesPerHost(const Case& facts) { return std::to_string(facts.ranks / facts.teams); }

// The answer to a group configuration on every rank, and how the real library would have ended (-1: by a code).
void expectCreate(const Case& facts, const ncclEpGroupConfig_t& config, ncclResult_t code, int end) {
  const Option hosts("host_devices", devicesPerHost(facts).c_str()), report("misuse", "report"),
      limit("wait_limit_ms", "20000");
  const Misuses misuses;
  asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    EXPECT_EP(code, ncclEpCreateGroup(&group, rank.comm, &config));
    if (code == ncclSuccess) {
      EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
    }
  });
  EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
}

void expectLayer(const Case& facts, bool window = false) {
  const Option hosts("host_devices", devicesPerHost(facts).c_str()), limit("wait_limit_ms", "20000");
  std::mt19937_64 random(20261130);
  World world = randomWorld(facts, random);
  if (!facts.ll) world.layouts = htLayouts(world);
  RoundOptions options;
  options.window = window;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    EXPECT_EQ(facts.ranks / facts.teams, ncclEpHandle_test_getNRanksPerNode(handle));
    Round round(rank, handle, world, options);
    round.load(world);
    round.spoil();
    round.all();
    synchronize(rank);
    round.check(world);
  });
}

TEST(EpTeams, T1LowLatencyRowsDoNotDependOnTeams) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR}) {
    expectLayer(teamCase(true, layout, 2, 2));
    expectLayer(teamCase(true, layout, 3, 1));
  }
}

// Windows are then not used: rows are staged.
TEST(EpTeams, T1LowLatencyStagesWhatLiesInWindows) {
  expectLayer(teamCase(true, NCCL_EP_LAYOUT_RANK_MAJOR, 2, 2), true);
}

TEST(EpTeams, T2HighThroughput) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_FLAT, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
    expectLayer(teamCase(false, layout, 2, 2));
    expectLayer(teamCase(false, layout, 4, 2));
    expectLayer(teamCase(false, layout, 3, 1));
  }
}

// Neighbours of 1 in bf16 are 2^-7 apart. 1 + 2^-8 twice is one step further in one sum, but lies halfway and goes back
// to 1, the even one, if it is rounded after the first.
TEST(EpTeams, T2OtherTeamsAreRoundedBeforeTheyTravel) {
  Case facts = teamCase(false, NCCL_EP_LAYOUT_FLAT, 2, 2);
  facts.experts = 8;
  facts.hidden = 8;
  const auto combined = [&](int teams, std::vector<float> rows) {
    facts.teams = teams;
    const Option hosts("host_devices", devicesPerHost(facts).c_str()), limit("wait_limit_ms", "20000");
    World world;
    world.facts = facts;
    for (int r = 0; r < facts.ranks; ++r) {
      Input& input = world.inputs.emplace_back();
      if (r > 0) continue;
      input.tokens = 1;
      input.ids = {0, 2, 4, 6};  // one on each rank
      input.weights = {1, 1, 1, 1};
      input.rows.assign(facts.hidden, 1.0f);
    }
    encodeRows(world);
    world.layouts = htLayouts(world);
    float result = 0;
    asThreads(facts.ranks, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk, facts.alignment);
      Round round(rank, handle, world);
      round.load(world);
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
      for (size_t h = 0; h < facts.hidden; ++h) {
        encode(facts.type, rows[static_cast<size_t>(rank.rank)], round.returned().raw<unsigned char>() + 2 * h);
      }
      EXPECT_EP(ncclSuccess, round.combine());
      synchronize(rank);
      if (rank.rank == 0) result = decode(facts.type, round.combined().raw<unsigned char>());
    });
    return result;
  };
  const float small = 1.0f / 256;
  EXPECT_EQ(1.0f + 2 * small, combined(1, {0.0f, small, 1.0f, small}));
  EXPECT_EQ(1.0f, combined(2, {0.0f, small, 1.0f, small}));
  EXPECT_EQ(1.0f + 2 * small, combined(2, {1.0f, small, 0.0f, small}));
}

TEST(EpTeams, T3ZeroCopyOfHighThroughputDuplicatesOverNvlink) {
  for (const int teams : {1, 2}) {
    Case facts = teamCase(false, NCCL_EP_LAYOUT_EXPERT_MAJOR, teams, 4 / teams);
    facts.zeroCopy = true;
    facts.mode = teams == 1 ? Mode::LocalDup : Mode::NvlinkDup;
    expectLayer(facts, true);
  }
}

TEST(EpTeams, T3ZeroCopyOfLowLatencyNeedsOneTeam) {
  Case facts = teamCase(true, NCCL_EP_LAYOUT_RANK_MAJOR, 2, 1);
  facts.zeroCopy = true;
  const Option hosts("host_devices", devicesPerHost(facts).c_str());
  std::mt19937_64 random(3);
  const World world = randomWorld(facts, random);
  RoundOptions options;
  options.window = true;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, world, options);
    round.load(world);
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclInvalidArgument, round.dispatch());
  });
}

TEST(EpTeams, T4QueuePairs) {
  Case facts = teamCase(false, NCCL_EP_LAYOUT_FLAT, 2, 2);
  ncclEpGroupConfig_t config = groupConfig(facts);
  config.num_qp_per_rank = 32;
  expectCreate(facts, config, ncclInternalError, NCCL4J_EMU_END_EXIT);
  config.num_qp_per_rank = 33;
  expectCreate(facts, config, ncclSuccess, kByCode);
  config.max_num_sms = 8;
  config.num_qp_per_rank = 17;
  expectCreate(facts, config, ncclSuccess, kByCode);
  facts.teams = 1;
  config.num_qp_per_rank = 1;
  expectCreate(facts, config, ncclSuccess, kByCode);  // no team, no queue pairs
}

TEST(EpTeams, T4LowLatencyKernelsUseFourContexts) {
  const Case facts = teamCase(true, NCCL_EP_LAYOUT_RANK_MAJOR, 2, 1);
  const Option hosts("host_devices", devicesPerHost(facts).c_str()), report("misuse", "report");
  std::mt19937_64 random(4);
  const World world = randomWorld(facts, random);
  for (const unsigned pairs : {3u, 4u}) {
    const Misuses misuses;
    asThreads(facts.ranks, [&](Rank& rank) {
      ncclEpGroupConfig_t config = groupConfig(facts);
      config.num_qp_per_rank = pairs;
      Group group(rank, config);
      Handle handle(group, facts.layout, facts.topk);
      Round round(rank, handle, world);
      round.load(world);
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(pairs < 4 ? ncclInternalError : ncclSuccess, round.dispatch());
      synchronize(rank);
    });
    EXPECT_EQ(pairs < 4 ? NCCL4J_EMU_END_UNDEFINED : kByCode, misuses.lastEnd()) << misuses.lastText();
  }
}

TEST(EpTeams, T5Gin) {
  const Case ll = teamCase(true, NCCL_EP_LAYOUT_RANK_MAJOR, 2, 1), ht = teamCase(false, NCCL_EP_LAYOUT_FLAT, 2, 2);
  {
    const EnvironmentVariable none("NCCL_GIN_ENABLE", "0");
    expectCreate(ll, groupConfig(ll), ncclInvalidUsage, kByCode);
    expectCreate(ht, groupConfig(ht), ncclInternalError, NCCL4J_EMU_END_EXIT);
  }
  const EnvironmentVariable railed("NCCL_CROSS_NIC", "0");
  expectCreate(ll, groupConfig(ll), ncclInvalidUsage, kByCode);
  expectCreate(ht, groupConfig(ht), ncclSuccess, kByCode);
}

// 2.10: experts and tokens of a team come in fours.
TEST(EpTeams, T6ExpertsOfATeam) {
  Case facts = teamCase(false, NCCL_EP_LAYOUT_FLAT, 2, 1);
  facts.experts = 4;
  facts.topk = 2;
  const Option hosts("host_devices", "1"), report("misuse", "report"), limit("wait_limit_ms", "20000");
  std::mt19937_64 random(6);
  World world = randomWorld(facts, random);
  world.layouts = htLayouts(world);
  const Misuses misuses;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, world);
    round.load(world);
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclInternalError, round.dispatch());
  });
  EXPECT_EQ(NCCL4J_EMU_END_ABORT, misuses.lastEnd()) << misuses.lastText();
}

// C10: a host that is split has one name.
TEST(EpTeams, C10TeamsOnOneHost) {
  const EnvironmentVariable split("NCCL_LSA_TEAM_SIZE", "1");
  Case facts = teamCase(true, NCCL_EP_LAYOUT_RANK_MAJOR, 1, 2);
  expectLayer([&] {
    Case ll = facts;
    ll.teams = 2;
    return ll;
  }());
  facts = teamCase(false, NCCL_EP_LAYOUT_FLAT, 1, 2);
  std::mt19937_64 random(10);
  World world = randomWorld(facts, random);
  world.layouts = htLayouts(world);
  asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    EXPECT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto round = std::make_unique<Round>(rank, handle, world);
    round->load(world);
    EXPECT_EP(ncclSuccess, round->update());
    EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(rank.stream));
    round.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
  });
}

// The formulas of the semantics over two teams of two, worked out by hand.
TEST(EpTeams, T7Sizes) {
  Case facts = teamCase(false, NCCL_EP_LAYOUT_FLAT, 2, 2);
  facts.experts = 8;
  facts.topk = 2;
  facts.maxTokens = 16;
  facts.maxReceive = 64;
  const Option hosts("host_devices", "2");
  asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroupConfig_t config = groupConfig(facts);
    config.max_token_bytes = 1024;
    nccl4jEmuUsage_t before{}, after{};
    EXPECT_EQ(0, nccl4jEmuUsage(rank.rank, &before));
    Group group(rank, config);
    EXPECT_EQ(0, nccl4jEmuUsage(rank.rank, &after));
    // Window: tokens 64 rows of 1024, twice; weights 64 x (2 x 2) x 4, twice; scales 64 x 1024.
    const size_t window = 2 * 65536 + 2 * 1024 + 65536;
    // Other team: 64 rows of 1024 and of 16, twice; a flag, twice; 2 marks, twice; 16 rows own and 16 x 8 weights;
    // 16 rows with weights, twice. Each in pages.
    const size_t network = 2 * 65536 + 2 * 4096 + 2 * 4096 + 2 * 4096 + 16384 + 4096 + 2 * 20480;
    // Counters; the map has a byte per team for each token of each rank.
    const size_t others = (size_t{32} << 20) + 32 + 128;
    EXPECT_EQ(others + window + network, after.device_bytes - before.device_bytes);
    size_t bytes = 0;
    EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, NCCL_EP_LAYOUT_FLAT, nullptr, &bytes, 2));
    // needed 2x16, of others 16, experts of rows 64x2, total, slots 2x16x2x4, ranks 2x16x2x8, scan 132x2x8, ids 16x2x8
    EXPECT_EQ(256u + 256 + 256 + 256 + 256 + 512 + 2304 + 256, bytes);
  });
}

// A link that is slow delays, and in LL a time limit ends the wait for the other team alone.
TEST(EpTeams, T8SlowLink) {
  Case facts = teamCase(true, NCCL_EP_LAYOUT_RANK_MAJOR, 2, 2);
  const Option hosts("host_devices", "2"), limit("wait_limit_ms", "20000");
  std::mt19937_64 random(8);
  const World world = randomWorld(facts, random);
  for (const bool late : {false, true}) {
    EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_SLOW_LINK, 0, 1, late ? 10'000 : 20));
    asThreads(facts.ranks, [&](Rank& rank) {
      ncclEpGroupConfig_t config = groupConfig(facts);
      config.enable_mask = 1;
      config.timeout_ns = late ? 500'000'000 : 15'000'000'000;
      Group group(rank, config);
      Handle handle(group, facts.layout, facts.topk);
      Round round(rank, handle, world);
      round.load(world);
      round.spoil();
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(ncclSuccess, round.dispatch());
      synchronize(rank);
      Tensor mask(ncclInt32, {static_cast<size_t>(facts.ranks)});
      EXPECT_EP(ncclSuccess, ncclEpMaskQuery(group, mask.raw<int>(), rank.stream));
      synchronize(rank);
      const std::vector<int> expected = late && rank.rank == 0 ? std::vector<int>{1, 1, 0, 0} : std::vector<int>(4, 1);
      EXPECT_EQ(expected, mask.read<int>());
      if (!late || rank.rank != 0) round.checkDispatch(world);
    });
    EXPECT_EQ(0, nccl4jEmuClearFaults());
  }
}

// Two handles of a group, whose streams are `ordered` by an event or by nothing.
void twoStreams(const Case& facts, const World& world, Rank& rank, bool ordered) {
  ncclEpGroup_t group = nullptr;
  const ncclEpGroupConfig_t config = groupConfig(facts);
  EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
  Rank other = rank;
  EXPECT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&other.stream, cudaStreamNonBlocking));
  ncclEpHandle_t handles[2] = {nullptr, nullptr};
  std::unique_ptr<Round> rounds[2];
  for (int i = 0; i < 2; ++i) {
    EXPECT_EP(ncclSuccess, ncclEpInitHandle(&handles[i], group, facts.layout, nullptr, facts.topk, nullptr));
    rounds[i] = std::make_unique<Round>(i == 0 ? rank : other, handles[i], world);
    rounds[i]->load(world);
    rounds[i]->spoil();
    EXPECT_EP(ncclSuccess, rounds[i]->update());
    synchronize(i == 0 ? rank : other);
  }
  EXPECT_EP(ncclSuccess, rounds[0]->dispatch());
  rounds[0]->experts();
  synchronize(rank);
  {
    HeldStream held(rank.stream);
    EXPECT_EP(ncclSuccess, rounds[0]->combine());
    if (ordered) {
      cudaEvent_t combined = nullptr;
      EXPECT_CUDA(cudaSuccess, cudaEventCreateWithFlags(&combined, cudaEventDisableTiming));
      EXPECT_CUDA(cudaSuccess, cudaEventRecord(combined, rank.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamWaitEvent(other.stream, combined, 0));
      EXPECT_CUDA(cudaSuccess, cudaEventDestroy(combined));
      held.openAtWait();
    }
    EXPECT_EP(ncclSuccess, rounds[1]->dispatch());
    EXPECT_CUDA(ordered ? cudaSuccess : cudaErrorLaunchFailure, cudaStreamSynchronize(other.stream));
  }
  if (ordered) {
    synchronize(rank);
    rounds[0]->checkCombine(world);
    rounds[1]->checkDispatch(world);
  }
  for (auto& round : rounds) round.reset();
  if (!ordered) {
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
  } else {
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(other.stream));
  }
  for (const ncclEpHandle_t handle : handles) EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
  if (ordered) {
    EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
  }
}

// Staging is the group's where there are several teams, and each handle's turn must be over before the next.
TEST(EpTeams, T9HandlesOnSeveralStreams) {
  const Case facts = teamCase(false, NCCL_EP_LAYOUT_FLAT, 2, 2);
  const Option hosts("host_devices", "2"), limit("wait_limit_ms", "20000");
  std::mt19937_64 random(9);
  World world = randomWorld(facts, random);
  world.layouts = htLayouts(world);
  for (const bool ordered : {true, false}) {
    asThreads(facts.ranks, [&](Rank& rank) { twoStreams(facts, world, rank, ordered); });
  }
}

}  // namespace
}  // namespace ep_test
