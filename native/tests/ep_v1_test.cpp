// Section 8: the profile of release 0.1.0.
#include "ep/environment.h"
#include "ep_round.h"
#include "held_stream.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

constexpr auto kAbort = NCCL4J_EMU_END_ABORT;

class EpV1 : public testing::Test {
 protected:
  const Option api_{"api", "1"};
  const Option report_{"misuse", "report"};
};

ncclEpGroupConfig_t v1Config(const Case& facts) {
  ncclEpGroupConfig_t config = groupConfig(facts);
  config.size = 96;
  config.version = 1;
  return config;
}

struct V1Step {
  ncclEpDispatchInputs_t inputs = made<ncclEpDispatchInputs_t>();
  ncclEpDispatchOutputs_t outputs = made<ncclEpDispatchOutputs_t>();
  ncclEpLayoutInfo_t info = made<ncclEpLayoutInfo_t>(40);
  ncclEpDispatchConfig_t config = made<ncclEpDispatchConfig_t>(20);
  ncclEpCombineInputs_t back = made<ncclEpCombineInputs_t>(24);
  ncclEpCombineOutputs_t home = made<ncclEpCombineOutputs_t>();
  ncclEpCombineConfig_t combineConfig = made<ncclEpCombineConfig_t>(16);
};

int endOf(const std::function<ncclResult_t()>& call, ncclResult_t expected = ncclInternalError) {
  const Misuses misuses;
  EXPECT_EP(expected, call());
  return misuses.lastEnd();
}

// D1: sizes are exact, magics too; everything else aborts.
TEST_F(EpV1, D1StrictStructs) {
  asThreads(1, [](Rank& rank) {
    Case facts;
    facts.ranks = 1;
    ncclEpGroup_t group = nullptr;
    for (const unsigned size : {0u, 95u, 97u, 112u}) {
      ncclEpGroupConfig_t config = v1Config(facts);
      config.size = size;
      EXPECT_EQ(kAbort, endOf([&] { return ncclEpCreateGroup(&group, rank.comm, &config); })) << size;
    }
    ncclEpGroupConfig_t config = v1Config(facts);
    config.magic = 0;
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpCreateGroup(&group, rank.comm, &config); }));
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpCreateGroup(&group, rank.comm, nullptr); }));
    Group good(rank, v1Config(facts));
    Handle handle(good, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2);
    V1Step step;
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpDispatch(handle, nullptr, &step.outputs, nullptr, nullptr, rank.stream); }));
    step.config.size = 24;
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpDispatch(handle, &step.inputs, &step.outputs, nullptr, &step.config, rank.stream); }));
  });
}

// D11 to D13, D15.
TEST_F(EpV1, D11Groups) {
  asThreads(1, [](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    Case facts;
    facts.ll = false;
    facts.ranks = 1;
    facts.maxTokens = 8196;
    facts.maxReceive = 8196;
    ncclEpGroupConfig_t config = v1Config(facts);
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpCreateGroup(&group, rank.comm, &config); }));
    config.max_dispatch_tokens_per_rank = 8;
    config.max_recv_tokens_per_rank = 0;
    EXPECT_EQ(NCCL4J_EMU_END_THROW, endOf([&] { return ncclEpCreateGroup(&group, rank.comm, &config); }));
    config.max_recv_tokens_per_rank = 64;
    config.max_token_bytes = 1000;  // no multiple of 16, not checked
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
    // The limit of warp groups only where the multiprocessors are given.
    facts.ll = true;
    config = v1Config(facts);
    config.max_dispatch_tokens_per_rank = 8;
    config.num_experts = 132 * 15;
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
    config.max_num_sms = 132;
    EXPECT_EP(ncclInvalidUsage, ncclEpCreateGroup(&group, rank.comm, &config));
  });
}

// D7, D24 to D28.
TEST_F(EpV1, D23Handles) {
  asThreads(1, [](Rank& rank) {
    Case facts;
    facts.ranks = 1;
    facts.experts = 16;
    facts.hidden = 2048;
    facts.layout = NCCL_EP_LAYOUT_RANK_MAJOR;
    Group group(rank, v1Config(facts));
    ncclEpHandle_t handle = nullptr;
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpInitHandle(&handle, group, facts.layout, nullptr, 0, nullptr); }));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    // D23: int64 only.
    Handle good(group, facts.layout, 2);
    Tensor narrow(ncclInt32, {4, 2});
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpUpdateHandle(good, narrow, nullptr, rank.stream); }));
    // D24: more than 9 fails at the first dispatch.
    Handle wide(group, facts.layout, 10);
    Tensor topk(ncclInt64, {4, 10}), in(ncclBfloat16, {4, 2048}), out(ncclBfloat16, {1, 16, 2048});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(wide, topk, nullptr, rank.stream));
    V1Step step;
    step.inputs.tokens = in;
    step.outputs.tokens = out;
    EXPECT_EQ(NCCL4J_EMU_END_THROW,
              endOf([&] { return ncclEpDispatch(wide, &step.inputs, &step.outputs, &step.info, nullptr, rank.stream); }));
    // D27
    ncclEpGroupConfig_t odd = v1Config(facts);
    odd.num_experts = 5;
    odd.max_dispatch_tokens_per_rank = 5;
    Group small(rank, odd);
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpInitHandle(&handle, small, facts.layout, nullptr, 2, nullptr); }));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    // D26, D7: HT aborts, and what Init refuses ends the process in CreateHandle.
    Case ht = facts;
    ht.ll = false;
    ht.maxReceive = 64;
    Group flat(rank, v1Config(ht));
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpInitHandle(&handle, flat, NCCL_EP_LAYOUT_FLAT, nullptr, 0, nullptr); }));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    Tensor none(ncclInt64, {4, 0});
    EXPECT_EQ(NCCL4J_EMU_END_EXIT,
              endOf([&] { return ncclEpCreateHandle(&handle, flat, NCCL_EP_LAYOUT_FLAT, none, nullptr, nullptr, rank.stream); }));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
  });
}

// A step in 0.1.0's sizes, checked against the reference.
void v1Round(const Case& facts, uint64_t seed) {
  std::mt19937_64 random(seed);
  const World world = randomWorld(facts, random);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, v1Config(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    Round round(rank, handle, world);
    round.load(world);
    round.spoil();
    round.all();
    synchronize(rank);
    round.check(world);
  });
}

Case v1Case(bool ll, ncclEpLayout_t layout) {
  Case facts;
  facts.v1 = true;
  facts.ll = ll;
  facts.layout = layout;
  facts.mode = Mode::NvlinkDup;
  facts.ranks = 2;
  facts.maxTokens = 8;
  facts.hidden = ll ? 2048 : 64;
  facts.alignment = ll ? 1 : 4;
  if (!ll) facts.maxReceive = 2 * 8 * 2 + 16;
  return facts;
}

TEST_F(EpV1, D19LowLatencyExpertMajor) { v1Round(v1Case(true, NCCL_EP_LAYOUT_EXPERT_MAJOR), 101); }
TEST_F(EpV1, D34LowLatencyRankMajor) { v1Round(v1Case(true, NCCL_EP_LAYOUT_RANK_MAJOR), 102); }
TEST_F(EpV1, D47HighThroughputExpertMajor) { v1Round(v1Case(false, NCCL_EP_LAYOUT_EXPERT_MAJOR), 103); }

// D30, D31, D33.
TEST_F(EpV1, D30Dispatch) {
  asThreads(1, [](Rank& rank) {
    Case facts = v1Case(true, NCCL_EP_LAYOUT_RANK_MAJOR);
    facts.ranks = 1;
    Group group(rank, v1Config(facts));
    Handle handle(group, facts.layout, 2);
    Tensor topk(ncclInt64, {4, 2}), weights(ncclFloat32, {4, 2}), outWeights(ncclFloat32, {1, 8, 2}), ids(ncclInt32, {1, 8, 2});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
    Tensor counters(ncclInt32, {1}), in(ncclBfloat16, {4, 512}), out(ncclBfloat16, {1, 8, 512}), half(ncclFloat16, {4, 512}), halfOut(ncclFloat16, {1, 8, 512});
    V1Step step;
    step.inputs.tokens = in;
    step.inputs.topk_weights = weights;
    step.outputs.tokens = out;
    step.outputs.topk_weights = outWeights;
    step.outputs.topk_idx = ids;
    const auto dispatch = [&] { return ncclEpDispatch(handle, &step.inputs, &step.outputs, &step.info, nullptr, rank.stream); };
    EXPECT_EQ(kAbort, endOf(dispatch));  // src_rank_counters is required
    step.info.src_rank_counters = counters;
    EXPECT_EQ(NCCL4J_EMU_END_THROW, endOf(dispatch));  // 512 is none of the compiled lengths
    step.inputs.tokens = half;
    step.outputs.tokens = halfOut;
    EXPECT_EQ(kAbort, endOf(dispatch));
  });
}

// D36, D37: the bank is fixed at the call, so that a graph with an odd number of operations meets a bank in use.
TEST_F(EpV1, D37OddGraphs) {
  for (const bool odd : {false, true}) {
    asThreads(1, [&](Rank& rank) {
      Case facts = v1Case(true, NCCL_EP_LAYOUT_RANK_MAJOR);
      facts.ranks = 1;
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = v1Config(facts);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t handle = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, 2, nullptr));
      {
        Tensor topk(ncclInt64, {4, 2}), weights(ncclFloat32, {4, 2}), outWeights(ncclFloat32, {1, 8, 2}), ids(ncclInt32, {1, 8, 2});
        Tensor counters(ncclInt32, {1}), in(ncclBfloat16, {4, 2048}), out(ncclBfloat16, {1, 8, 2048}), home(ncclBfloat16, {4, 2048});
        EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
        V1Step step;
        step.inputs.tokens = in;
        step.inputs.topk_weights = weights;
        step.outputs.tokens = out;
        step.outputs.topk_weights = outWeights;
        step.outputs.topk_idx = ids;
        step.info.src_rank_counters = counters;
        step.back.tokens = out;
        step.home.tokens = home;
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t exec = nullptr;
        ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
        EXPECT_EP(ncclSuccess, ncclEpDispatch(handle, &step.inputs, &step.outputs, &step.info, nullptr, rank.stream));
        if (!odd) {
          EXPECT_EP(ncclSuccess, ncclEpCombine(handle, &step.back, &step.home, nullptr, rank.stream));
        }
        ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph));
        ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
        EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
        EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
        const Misuses misuses;
        EXPECT_CUDA(odd ? cudaErrorLaunchFailure : cudaSuccess, cudaStreamSynchronize(rank.stream));
        EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec));
        EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
      }
      if (odd) {
        EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
        EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      }
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_EP(odd ? ncclInternalError : ncclSuccess, ncclEpGroupDestroy(group));
    });
  }
}

// D43, D44: HT reads the count after the exchange, and reports outputs that were too small then.
TEST_F(EpV1, D44CountsAfterTheExchange) {
  asThreads(1, [](Rank& rank) {
    Case facts = v1Case(false, NCCL_EP_LAYOUT_FLAT);
    facts.ranks = 1;
    facts.alignment = 1;
    Group group(rank, v1Config(facts));
    Handle handle(group, facts.layout, 2);
    Tensor topk(ncclInt64, {4, 2}), weights(ncclFloat32, {4, 2}), in(ncclBfloat16, {4, 64});
    topk.write(std::vector<int64_t>{0, 1, 2, 3, -1, -1, 4, 5});
    HeldStream held(rank.stream);
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
    const size_t budget = facts.maxReceive;
    Tensor three(ncclBfloat16, {3, 64}), two(ncclBfloat16, {2, 64}), outWeights(ncclFloat32, {budget, 2}), ids(ncclInt64, {budget, 2});
    V1Step step;
    step.inputs.tokens = in;
    step.inputs.topk_weights = weights;
    step.outputs.tokens = three;
    step.outputs.topk_weights = outWeights;
    step.outputs.topk_idx = ids;
    const auto dispatch = [&] { return ncclEpDispatch(handle, &step.inputs, &step.outputs, nullptr, &step.config, rank.stream); };
    held.openAtWait();
    EXPECT_EP(ncclSuccess, dispatch());  // three rows are enough outside a capture
    EXPECT_LT(0u, held.waits());
    held.open();
    step.outputs.tokens = two;
    two.fill(0x5a);
    EXPECT_EP(ncclInvalidArgument, dispatch());
    for (const unsigned char byte : two.read<unsigned char>()) ASSERT_EQ(0x5a, byte);
    // Weights and ids need M rows always.
    Tensor fewWeights(ncclFloat32, {3, 2}), fewIds(ncclInt64, {3, 2});
    step.outputs.tokens = three;
    step.outputs.topk_weights = fewWeights;
    step.outputs.topk_idx = fewIds;
    EXPECT_EP(ncclInvalidArgument, dispatch());
  });
}

// D17: a time limit of zero in the environment hides the configuration's.
TEST_F(EpV1, D17ZeroTimeout) {
  const EnvironmentVariable variable("NCCL_EP_TIMEOUT_MS", "0");
  constexpr uint64_t kSecond = 1'000'000'000;
  EXPECT_EQ(100 * kSecond, emu::ep::environment::timeoutNs(5 * kSecond));
  const Option newer("api", "2");
  EXPECT_EQ(5 * kSecond, emu::ep::environment::timeoutNs(5 * kSecond));
}

// D14: only the rank whose own budget overflows traps.
TEST_F(EpV1, D14OverflowIsTheOwnRanks) {
  Case facts = v1Case(false, NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.topk = 1;
  facts.alignment = 16;
  facts.maxReceive = 16;
  World world;
  world.facts = facts;
  for (int r = 0; r < 2; ++r) {
    Input& input = world.inputs.emplace_back();
    input.tokens = 8;
    for (int t = 0; t < 8; ++t) input.ids.push_back(4 + t % 2);  // two padded zones of rank 1
    input.weights.assign(8, 1.0f);
    input.rows.assign(8 * facts.hidden, 1.0f);
  }
  encodeRows(world);
  asThreads(2, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = v1Config(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    auto handleConfig = made<ncclEpHandleConfig_t>();
    handleConfig.dispatch_output_per_expert_alignment = facts.alignment;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, &handleConfig, facts.topk, nullptr));
    {
      Round round(rank, handle, world);
      round.load(world);
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_CUDA(rank.rank == 1 ? cudaErrorLaunchFailure : cudaSuccess, cudaStreamSynchronize(rank.stream));
    }
    // Nothing of the group can be destroyed in order any more.
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(rank.rank == 1 ? cudaErrorLaunchFailure : cudaSuccess, cudaStreamDestroy(rank.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
    if (rank.rank == 1) {
      EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    }
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommInitAll(&rank.comm, 1, &rank.rank));
  });
}

// D42: token types of 0.1.0's HT.
TEST_F(EpV1, D42HighThroughputTypes) {
  asThreads(1, [](Rank& rank) {
    Case facts = v1Case(false, NCCL_EP_LAYOUT_FLAT);
    facts.ranks = 1;
    facts.alignment = 1;
    Group group(rank, v1Config(facts));
    Handle handle(group, facts.layout, 2);
    Tensor topk(ncclInt64, {4, 2}), weights(ncclFloat32, {4, 2}), half(ncclFloat16, {4, 64}), out(ncclFloat16, {facts.maxReceive, 64});
    Tensor outWeights(ncclFloat32, {facts.maxReceive, 2}), ids(ncclInt64, {facts.maxReceive, 2}), home(ncclFloat16, {4, 64});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
    V1Step step;
    step.inputs.tokens = half;
    step.inputs.topk_weights = weights;
    step.outputs.tokens = out;
    step.outputs.topk_weights = outWeights;
    step.outputs.topk_idx = ids;
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpDispatch(handle, &step.inputs, &step.outputs, nullptr, nullptr, rank.stream); }));
    step.back.tokens = out;
    step.home.tokens = home;
    EXPECT_EQ(kAbort, endOf([&] { return ncclEpCombine(handle, &step.back, &step.home, nullptr, rank.stream); }));
    synchronize(rank);
  });
}

}  // namespace
}  // namespace ep_test
