// Ranks as processes, and as processes and threads together.
#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>

#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asRank;
using nccl_test::Child;
using nccl_test::fromHex;
using nccl_test::makeId;
using nccl_test::toHex;

constexpr int kRanks = 4;

Case processCase(bool ll, ncclEpLayout_t layout) {
  Case facts;
  facts.ll = ll;
  facts.layout = layout;
  facts.ranks = kRanks;
  facts.experts = 16;
  facts.topk = 4;
  facts.maxTokens = 8;
  facts.hidden = 512;
  if (!ll) facts.maxReceive = 160;
  facts.alignment = !ll && layout == NCCL_EP_LAYOUT_EXPERT_MAJOR ? 4 : 1;
  return facts;
}

// Steps on every layout, eager and captured; the same worlds in every process.
void runSteps(Rank& rank) {
  for (const auto& [ll, layout] : {std::pair{true, NCCL_EP_LAYOUT_EXPERT_MAJOR}, {true, NCCL_EP_LAYOUT_RANK_MAJOR},
                                   {false, NCCL_EP_LAYOUT_FLAT}, {false, NCCL_EP_LAYOUT_EXPERT_MAJOR}}) {
    const Case facts = processCase(ll, layout);
    std::mt19937_64 random(111);
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    for (int i = 0; i < 4; ++i) {
      const World world = randomWorld(facts, random);
      RoundOptions options;
      options.window = i % 2 == 1 && !(ll && facts.expertMajor());
      Round round(rank, handle, facts, world.inputs[rank.rank].tokens, options);
      round.load(world);
      round.spoil();
      round.all();
      synchronize(rank);
      round.check(world);
    }
  }
}

// parameters: id, first rank, number of ranks (threads of this process)
void steps(const std::vector<std::string>& parameters) {
  const ncclUniqueId id = fromHex(parameters[0]);
  const int first = std::stoi(parameters[1]);
  nccl_test::onThreads(std::stoi(parameters[2]), [&](int i) { asRank(id, kRanks, first + i, runSteps); });
}
const nccl_test::RoleOf stepsRole("ep_steps", steps);

TEST(EpProcesses, FourProcesses) {
  const std::string id = toHex(makeId());
  std::vector<Child> children;
  for (int r = 0; r < kRanks; ++r) children.emplace_back("ep_steps", std::vector<std::string>{id, std::to_string(r), "1"});
  for (Child& child : children) EXPECT_EQ(0, child.join());
}

TEST(EpProcesses, ProcessesAndThreads) {
  const ncclUniqueId id = makeId();
  Child other("ep_steps", {toHex(id), "2", "2"});
  steps({toHex(id), "0", "2"});
  EXPECT_EQ(0, other.join());
}

Case killCase() { return processCase(true, NCCL_EP_LAYOUT_RANK_MAJOR); }

World killWorld() {
  std::mt19937_64 random(112);
  return randomWorld(killCase(), random);
}

// Dies by SIGKILL at its second operation.
void dies(const std::vector<std::string>& parameters) {
  asRank(fromHex(parameters[0]), kRanks, kRanks - 1, [](Rank& rank) {
    ncclEpGroupConfig_t config = groupConfig(killCase());
    config.enable_mask = 1;
    ncclEpGroup_t group = nullptr;
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    EXPECT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, killCase().layout, nullptr, killCase().topk, nullptr));
    const World world = killWorld();
    Round round(rank, handle, killCase(), world.inputs[rank.rank].tokens);
    round.load(world);
    EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_END_PROCESS, -1, 2, 0));
    round.all();
    synchronize(rank);
  });
}
const nccl_test::RoleOf diesRole("ep_dies", dies);

// 7.2: the survivors mask it at once, although the time-out is an hour, and go on with the experts that remain.
TEST(EpProcesses, KilledRankIsMasked) {
  const Option report("misuse", "report");
  const Option limit("wait_limit_ms", "20000");
  const ncclUniqueId id = makeId();
  Child victim("ep_dies", {toHex(id)});
  const World world = killWorld();
  nccl_test::onThreads(kRanks - 1, [&](int r) {
    Rank rank;
    rank.rank = r;
    rank.size = kRanks;
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(r));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&rank.comm, kRanks, id, r));
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    ncclEpGroupConfig_t config = groupConfig(killCase());
    config.enable_mask = 1;
    config.timeout_ns = 3'600'000'000'000;
    ncclEpGroup_t group = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    {
      Handle handle(group, killCase().layout, killCase().topk);
      RoundOptions survivors;
      survivors.dead.assign(kRanks, false);
      survivors.dead[kRanks - 1] = true;
      Round all(rank, handle, killCase(), world.inputs[r].tokens), without(rank, handle, killCase(), world.inputs[r].tokens, survivors);
      all.load(world);
      all.spoil();
      all.all();
      synchronize(rank);
      all.checkDispatch(world);
      without.load(world);
      without.spoil();
      without.all();
      synchronize(rank);
      without.check(world);
      int error = 0;
      EXPECT_EP(ncclSuccess, ncclEpGetAsyncError(group, &error));
      EXPECT_EQ(1, error);
    }
    // Destroying the group waits for the dead rank for ever; here as long as waits may take.
    EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuSetOption("wait_limit_ms", "500"));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(rank.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
  });
  EXPECT_NE(0, victim.join());
}

// HT has no time-outs: a rank that does not come ends the others' waits by the emulator's limit, with its name.
TEST(EpProcesses, HtWaitEndsByTheLimit) {
  const Option report("misuse", "report");
  const Option limit("wait_limit_ms", "1000");
  const Case facts = processCase(false, NCCL_EP_LAYOUT_FLAT);
  Barrier barrier(kRanks);
  nccl_test::asThreads(kRanks, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    if (rank.rank != 2) {
      auto round = std::make_unique<Round>(rank, handle, facts, 4);
      EXPECT_EP(ncclSuccess, round->update());
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
      char text[1024];
      EXPECT_EQ(0, nccl4jEmuErrorText(rank.rank, text, sizeof text));
      EXPECT_NE(nullptr, std::strstr(text, "rank 2 (started no operation")) << text;
      round.reset();
      EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
      EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    }
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    barrier.meet();
    EXPECT_EP(rank.rank == 2 ? ncclSuccess : ncclInternalError, ncclEpGroupDestroy(group));  // its memory went with the device
  });
}

// nccl4jEmuBreakWaits ends LL and HT waits alike.
TEST(EpProcesses, BrokenWaits) {
  const Option report("misuse", "report");
  for (const bool ll : {true, false}) {
    const Case facts = processCase(ll, ll ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_FLAT);
    nccl_test::asThreads(2, [&](Rank& rank) {
      Case two = facts;
      two.ranks = 2;
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = groupConfig(two);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t handle = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, two.layout, nullptr, two.topk, nullptr));
      if (rank.rank == 0) {
        auto round = std::make_unique<Round>(rank, handle, two, 4);
        EXPECT_EP(ncclSuccess, round->update());
        if (ll) {
          EXPECT_EP(ncclSuccess, round->dispatch());
        }
        EXPECT_EQ(0, nccl4jEmuBreakWaits("test"));
        EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
        EXPECT_EQ(0, nccl4jEmuBreakWaits(nullptr));
        round.reset();
        EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
        EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      }
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    });
  }
}

// Section 0: without report mode the process ends as the real library ends it.
void endsBadly(const std::vector<std::string>& parameters) {
  asRank(fromHex(parameters[0]), 1, 0, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    if (parameters[1] == "abort") config.num_experts = 0;
    if (parameters[1] == "exit") config.rdma_buffer_size = 1ul << 60;
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
  });
}
const nccl_test::RoleOf endsBadlyRole("ep_ends_badly", endsBadly);

TEST(EpProcesses, S0Aborts) {
  const int status = Child("ep_ends_badly", {toHex(makeId()), "abort"}).join();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
}

TEST(EpProcesses, S0Exits) {
  const int status = Child("ep_ends_badly", {toHex(makeId()), "exit"}).join();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE) << status;
}

TEST(EpProcesses, S0Throws) {
  nccl_test::asThreads(1, [](Rank& rank) {
    Group group(rank, lowLatency(8, 8, 1024));
    ncclEpHandle_t handle = nullptr;
    EXPECT_ANY_THROW(ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_UNSET, nullptr, 2, nullptr));
    EXPECT_ANY_THROW(ncclEpMaskClean(nullptr, rank.stream));
  });
}

}  // namespace
}  // namespace ep_test
