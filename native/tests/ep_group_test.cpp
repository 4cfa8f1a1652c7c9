// Section 3: group creation, and the sizes of 3.7 and 4.2.
#include <cstdlib>

#include "ep/sizing.h"
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

// The answer to a group configuration on every rank, and how the real library would have ended (-1: by a code).
void expectRefused(int ranks, const ncclEpGroupConfig_t& config, ncclResult_t code, int end, bool written) {
  const Option report("misuse", "report");
  asThreads(ranks, [&](Rank& rank) {
    const Misuses misuses;
    ncclEpGroup_t group = nullptr;
    EXPECT_EP(code, ncclEpCreateGroup(&group, rank.comm, &config));
    if (ranks == 1) {
      EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
    }
    EXPECT_EQ(written, group != nullptr);
  });
}

constexpr int kByCode = -1;

TEST(EpGroup, S31NullPointers) {
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    const ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    ncclEpGroup_t group = nullptr;
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpCreateGroup(nullptr, rank.comm, &config));
    EXPECT_EP(ncclInternalError, ncclEpCreateGroup(&group, nullptr, &config));
    EXPECT_EQ(2u, misuses.since().size());
    for (const auto& record : misuses.since()) EXPECT_EQ(NCCL4J_EMU_END_ABORT, record.end);
    EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(nullptr));
  });
}

TEST(EpGroup, S31Steps3To6) {
  ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
  config.algorithm = static_cast<ncclEpAlgorithm_t>(2);
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_ABORT, false);
  config = lowLatency(0, 8, 1024);
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_ABORT, false);
  config = lowLatency(8, 8, 0);
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_ABORT, false);
  config = highThroughput(8, 8, 1000, 64);
  expectRefused(1, config, ncclInvalidArgument, kByCode, false);
  config = lowLatency(8, 0, 1024);
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_ABORT, false);
}

cudaError_t neverAllocate(void**, size_t, void*) { return cudaErrorMemoryAllocation; }

TEST(EpGroup, S31Steps7To10) {
  ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
  config.alloc.alloc_fn = neverAllocate;
  expectRefused(1, config, ncclInvalidUsage, kByCode, true);
  config = lowLatency(8, 8, 1024);
  config.max_num_sms = 133;
  expectRefused(1, config, ncclInvalidUsage, kByCode, true);
  config.max_num_sms = 132;
  config.num_experts = 132 * 14 + 1;
  expectRefused(1, config, ncclInvalidUsage, kByCode, true);
}

TEST(EpGroup, S31Steps12To15) {
  ncclEpGroupConfig_t config = highThroughput(8, 8, 1024, 7);
  expectRefused(2, config, ncclInternalError, NCCL4J_EMU_END_THROW, true);
  config = lowLatency(8, 8, 1024);
  config.num_topk = 9;
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_THROW, true);
  config = highThroughput(8, 8, 1024, 0);
  config.overflow_policy = NCCL_EP_OVERFLOW_DROP;
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_THROW, true);
  config = highThroughput(1 << 20, 1 << 20, 1024, 0);
  config.num_topk = 1 << 20;
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_THROW, true);
}

// 15: M is the one figure that the real library compares. The others it does not; the emulator does.
TEST(EpGroup, S31RanksThatDisagree) {
  const Option report("misuse", "report");
  asThreads(2, [](Rank& rank) {
    const Misuses misuses;
    ncclEpGroup_t group = nullptr;
    ncclEpGroupConfig_t config = highThroughput(8, 8, 1024, rank.rank == 0 ? 64 : 65);
    EXPECT_EP(ncclInternalError, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_EQ(NCCL4J_EMU_END_THROW, misuses.lastEnd());
    config = lowLatency(8, rank.rank == 0 ? 8 : 12, 1024);
    config.max_recv_tokens_per_rank = 100;
    EXPECT_EP(ncclInternalError, ncclEpCreateGroup(&group, rank.comm, &config));
    EXPECT_EQ(NCCL4J_EMU_END_UNDEFINED, misuses.lastEnd());
    EXPECT_NE(std::string::npos, misuses.lastText().find("max_dispatch_tokens_per_rank")) << misuses.lastText();
  });
}

TEST(EpGroup, S31MemoryThatTheDeviceDoesNotHave) {
  ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
  config.rdma_buffer_size = 1ul << 60;
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_EXIT, true);
  config = highThroughput(1024, 1 << 24, 1 << 16, 1 << 30);
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_EXIT, true);
  config = lowLatency(8, 8, 1024);
  config.alloc.alloc_fn = neverAllocate;
  config.alloc.free_fn = [](void*, void*) { return cudaSuccess; };
  expectRefused(1, config, ncclInternalError, NCCL4J_EMU_END_THROW, true);
}

// Absurd sizes are refused wherever they are noticed, and nothing overflows.
TEST(EpGroup, AbsurdSizes) {
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    for (const bool ll : {true, false}) {
      ncclEpGroupConfig_t config = ll ? lowLatency(1 << 10, 0xffffffff, 0xfffffff0)
                                      : highThroughput(1 << 10, 0xffffffff, 0xfffffff0, 0xffffffff);
      config.num_topk = 1;
      ncclEpGroup_t group = nullptr;
      if (ncclEpCreateGroup(&group, rank.comm, &config) != ncclSuccess) continue;
      ncclEpHandle_t handle = nullptr;
      EXPECT_NE(ncclSuccess, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_EXPERT_MAJOR, nullptr, 2, nullptr));
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
    }
  });
}

// 3.1 step 8: the calling thread ends up on the communicator's device.
TEST(EpGroup, S31SetsTheDevice) {
  asThreads(2, [](Rank& rank) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(7));
    Group group(rank, lowLatency(8, 8, 1024));
    int device = -1;
    EXPECT_CUDA(cudaSuccess, cudaGetDevice(&device));
    EXPECT_EQ(rank.rank, device);
  });
}

struct Allocations {
  int live = 0;
  std::vector<size_t> sizes;
};

// 3.5: what goes through the callbacks, and that all of it comes back.
TEST(EpGroup, S35AllocatorCallbacks) {
  for (const bool ll : {true, false}) {
    asThreads(1, [&](Rank& rank) {
      Allocations seen;
      ncclEpGroupConfig_t config = ll ? lowLatency(8, 8, 1024) : highThroughput(8, 8, 1024, 64);
      config.alloc.context = &seen;
      config.alloc.alloc_fn = [](void** pointer, size_t size, void* context) {
        auto* const all = static_cast<Allocations*>(context);
        ++all->live;
        all->sizes.push_back(size);
        return cudaMalloc(pointer, size);
      };
      config.alloc.free_fn = [](void* pointer, void* context) {
        --static_cast<Allocations*>(context)->live;
        return cudaFree(pointer);
      };
      {
        Group group(rank, config);
        EXPECT_EQ(ll ? 1 : 3, seen.live);
        EXPECT_EQ(size_t{32} << 20, seen.sizes[0]);
        size_t bytes = 0;
        const ncclEpLayout_t layout = NCCL_EP_LAYOUT_EXPERT_MAJOR;
        EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, layout, nullptr, &bytes, 2));
        Handle handle(group, layout, 2);
        EXPECT_EQ(ll ? 2 : 4, seen.live);
        EXPECT_EQ(bytes, seen.sizes.back());
        // 4.3: memory of the caller is not freed.
        Tensor memory(ncclUint8, {bytes});
        Handle foreign(group, layout, 2, 0, memory);
        EXPECT_EQ(ll ? 2 : 4, seen.live);
      }
      EXPECT_EQ(0, seen.live);
    });
  }
}

// 4.2: the check values that the real host code returned.
TEST(EpGroup, S42CheckValues) {
  asThreads(2, [](Rank& rank) {
    const auto memSize = [](ncclEpGroup_t group, ncclEpLayout_t layout, int topk) {
      size_t bytes = 0;
      EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, layout, nullptr, &bytes, topk));
      return bytes;
    };
    Group ll(rank, lowLatency(8, 16, 1024));
    EXPECT_EQ(768u, memSize(ll, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2));
    EXPECT_EQ(1792u, memSize(ll, NCCL_EP_LAYOUT_RANK_MAJOR, 9));
    EXPECT_EQ(768u, memSize(ll, NCCL_EP_LAYOUT_FLAT, 2));  // 2.5: wrong pairs are not refused here
    Group ht(rank, highThroughput(8, 16, 1024, 64));
    EXPECT_EQ(4352u, memSize(ht, NCCL_EP_LAYOUT_FLAT, 2));
    EXPECT_EQ(6144u, memSize(ht, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2));
    EXPECT_EQ(10752u, memSize(ht, NCCL_EP_LAYOUT_EXPERT_MAJOR, 9));
  });
}

// 4.2, by hand: the same shape in the modes that duplicate rows.
TEST(EpGroup, S42OtherModes) {
  emu::ep::Shape shape;
  shape.ranks = 2;
  shape.experts = 8;
  shape.maxDispatch = 16;
  shape.maxReceive = 64;
  using emu::ep::ExpertMode;
  // 4352 + counts 256 + offsets 256 + groups (64/2)*2*4 = 256, and 256; the slot map has as many columns as ranks.
  EXPECT_EQ(4352u + 1024u, emu::ep::htBlock(shape, ExpertMode::LocalDup, true, 2, 132).bytes);
  EXPECT_EQ(4352u + 512u, emu::ep::htBlock(shape, ExpertMode::NvlinkDup, true, 2, 132).bytes);
  // Scan scratch of 16 blocks: 16*2*8 = 256 instead of 2304.
  EXPECT_EQ(4352u - 2048u, emu::ep::htBlock(shape, ExpertMode::NvlinkDup, false, 2, 16).bytes);
}

// 3.7: 8 ranks, 128 tokens, hidden 7168 in bf16, 256 experts, top-k 8: 938 and 57 MiB.
TEST(EpGroup, S37LlBuffer) {
  emu::ep::Shape shape;
  shape.ranks = 8;
  shape.experts = 256;
  shape.maxDispatch = 128;
  shape.maxTokenBytes = 14336;
  const auto expert = emu::ep::llBuffer(shape, NCCL_EP_LAYOUT_EXPERT_MAJOR, 8);
  const auto rank = emu::ep::llBuffer(shape, NCCL_EP_LAYOUT_RANK_MAJOR, 8);
  // cmsg = 14336 + 56*4; csnd = 256*128*cmsg; crcv = 128*8*cmsg; sig = 1024
  const size_t combine = 14336 + 56 * 4;
  EXPECT_EQ(2 * (256 * 128 * combine + 128 * 8 * combine) + 2 * 1024, expert.totalBytes);
  EXPECT_EQ(938u, expert.totalBytes >> 20);
  EXPECT_EQ(57u, (rank.totalBytes + (1 << 19)) >> 20);
  EXPECT_TRUE(expert.regionsAligned);
  shape.maxTokenBytes = 14337;
  EXPECT_TRUE(emu::ep::llBuffer(shape, NCCL_EP_LAYOUT_EXPERT_MAJOR, 8).regionsAligned);  // 128 odd messages
  shape.maxDispatch = 1;
  EXPECT_FALSE(emu::ep::llBuffer(shape, NCCL_EP_LAYOUT_EXPERT_MAJOR, 8).regionsAligned);
}

// 3.7: an explicit size holds or is refused; it never grows.
TEST(EpGroup, S37ExplicitRdmaBuffer) {
  emu::ep::Shape shape;
  shape.ranks = 1;
  shape.experts = 8;
  shape.maxDispatch = 8;
  shape.maxTokenBytes = 1024;
  const size_t needed = emu::ep::llBuffer(shape, NCCL_EP_LAYOUT_RANK_MAJOR, 2).totalBytes;
  asThreads(1, [&](Rank& rank) {
    for (const size_t bytes : {needed, needed - 1}) {
      ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
      config.rdma_buffer_size = bytes;
      Group group(rank, config);
      ncclEpHandle_t handle = nullptr;
      EXPECT_EP(bytes == needed ? ncclSuccess : ncclInvalidUsage,
                ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
      EXPECT_NE(nullptr, handle);
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    }
  });
}

// 3.7, F6: growth leaves handles alive and makes graphs captured before void.
TEST(EpGroup, S37GrowthVoidsGraphs) {
  const Option report("misuse", "report");
  Case facts;
  facts.layout = NCCL_EP_LAYOUT_RANK_MAJOR;
  facts.ranks = 1;
  std::mt19937_64 random(5);
  const World world = randomWorld(facts, random);
  asThreads(1, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t small = nullptr, large = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&small, group, facts.layout, nullptr, facts.topk, nullptr));
    auto round = std::make_unique<Round>(rank, small, facts, world.inputs[0].tokens);
    round->load(world);
    round->spoil();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
    round->all();
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph));
    ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
    synchronize(rank);
    round->check(world);
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&large, group, NCCL_EP_LAYOUT_EXPERT_MAJOR, nullptr, 8, nullptr));
    round->spoil();
    round->all();
    synchronize(rank);
    round->check(world);
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
    EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(rank.stream));
    round.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(small));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(large));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
  });
}

// 3.9: NCCL_EP_TIMEOUT_MS wins over the configuration.
TEST(EpGroup, S39TimeoutVariable) {
  const EnvironmentVariable variable("NCCL_EP_TIMEOUT_MS", "150");
  asThreads(1, [](Rank& rank) {
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    config.timeout_ns = 3'600'000'000'000;
    config.enable_mask = 1;
    Case facts;
    facts.layout = NCCL_EP_LAYOUT_RANK_MAJOR;
    facts.ranks = 1;
    Group group(rank, config);
    Handle handle(group, facts.layout, facts.topk);
    std::mt19937_64 random(6);
    World world = randomWorld(facts, random);
    EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DROP_MESSAGES, 0, 1, 0));
    facts.maxTokens = 8;
    world = randomWorld(facts, random);
    Round round(rank, handle, facts, world.inputs[0].tokens);
    round.load(world);
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    synchronize(rank);
    int error = 0;
    EXPECT_EP(ncclSuccess, ncclEpGetAsyncError(group, &error));
    EXPECT_EQ(1, error);
  });
  EXPECT_EQ(0, nccl4jEmuClearFaults());
}

// 3.9: fewer multiprocessors mean more warp groups, and less room for top-k.
TEST(EpGroup, S39CommSms) {
  const EnvironmentVariable variable("NCCL_EP_COMM_SMS", "1");
  asThreads(1, [](Rank& rank) {
    Group group(rank, lowLatency(14, 8, 1024));  // 14 warp groups of 2 warps
    ncclEpHandle_t handle = nullptr;
    EXPECT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 14, nullptr));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    ncclEpGroup_t tooMany = nullptr;
    const ncclEpGroupConfig_t config = lowLatency(15, 8, 1024);
    EXPECT_EP(ncclInvalidUsage, ncclEpCreateGroup(&tooMany, rank.comm, &config));
  });
}

// 3.9: stages that no shared memory holds are refused by the operation, other values are taken.
TEST(EpGroup, S39Stages) {
  const auto answers = [](const char* dispatchStages, const char* combineStages, ncclResult_t dispatch,
                          ncclResult_t combine) {
    const EnvironmentVariable one("NCCL_EP_DISPATCH_NUM_STAGES", dispatchStages),
        two("NCCL_EP_COMBINE_NUM_STAGES_G2S", combineStages);
    Case facts;
    facts.ll = false;
    facts.layout = NCCL_EP_LAYOUT_FLAT;
    facts.ranks = 1;
    facts.maxReceive = 32;
    std::mt19937_64 random(39);
    const World world = randomWorld(facts, random);
    asThreads(1, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk);
      Round round(rank, handle, world);
      round.load(world);
      EXPECT_EP(ncclSuccess, round.update());
      EXPECT_EP(dispatch, round.dispatch());
      EXPECT_EP(combine, round.combine());
      synchronize(rank);
    });
  };
  answers("8", "4", ncclSuccess, ncclSuccess);
  answers("none", "", ncclSuccess, ncclSuccess);
  answers("228", "226", ncclInvalidArgument, ncclSuccess);        // rows of 1 KiB, 227 KiB of shared memory
  answers("227", "18446744073709551615", ncclSuccess, ncclInvalidArgument);
}

// 3.9: flags in any case; what is neither on nor off counts as unset.
TEST(EpGroup, S39Flags) {
  struct Flag {
    const char* text;
    bool dup;
  };
  for (const Flag& flag : {Flag{"1", true},
                           {"oN", true},
                           {"TRUE", true},
                           {"0", false},
                           {"Off", false},
                           {"false", false},
                           {"yes", false},
                           {"", false}}) {
    const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", flag.text);
    const Option report("misuse", "report");
    asThreads(1, [&](Rank& rank) {
      ncclEpGroupConfig_t config = highThroughput(8, 8, 1024, 8);
      Group group(rank, config);
      ncclEpHandle_t handle = nullptr;
      // Dup modes demand room for the worst case; by that they are told.
      EXPECT_EP(flag.dup ? ncclInternalError : ncclSuccess,
                ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_FLAT, nullptr, 2, nullptr))
          << flag.text;
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    });
  }
}

// 3.2: HT rows are multiples of 16; LL finds out when its buffer is laid out.
TEST(EpGroup, S32MaxTokenBytes) {
  expectRefused(1, highThroughput(8, 8, 24, 64), ncclInvalidArgument, kByCode, false);
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    Group group(rank, lowLatency(3, 1, 1000));
    ncclEpHandle_t handle = nullptr;
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
    EXPECT_EQ(NCCL4J_EMU_END_THROW, misuses.lastEnd());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
  });
}

// 3.3: LL stores any budget and does not look at it; HT refuses one below B; B has no upper limit of its own.
TEST(EpGroup, S33ReceiveBudget) {
  asThreads(1, [](Rank& rank) {
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    config.max_recv_tokens_per_rank = 1;
    Group any(rank, config);
    Group atLeast(rank, highThroughput(8, 8, 1024, 8));
    Group large(rank, highThroughput(8, 8196, 16, 8196));
  });
  expectRefused(1, highThroughput(8, 8, 1024, 7), ncclInternalError, NCCL4J_EMU_END_THROW, true);
}

// 3.4: multiprocessors out of range are ignored where a variable names them, refused where the configuration does.
TEST(EpGroup, S34Multiprocessors) {
  for (const char* value : {"0", "133", "x"}) {
    const EnvironmentVariable comm("NCCL_EP_COMM_SMS", value), shuffle("NCCL_EP_SHUFFLE_SMS", value),
        preprocess("NCCL_EP_PREPROCESS_NUM_SMS", value);
    asThreads(1, [](Rank& rank) {
      Group group(rank, lowLatency(15, 8, 1024));  // would be refused on a single multiprocessor
    });
  }
  ncclEpGroupConfig_t config = lowLatency(15, 8, 1024);
  config.max_num_sms = 1;
  expectRefused(1, config, ncclInvalidUsage, kByCode, true);
}

// Two groups on one communicator.
TEST(EpGroup, S2TwoGroups) {
  Case facts;
  facts.ranks = 3;
  facts.experts = 12;
  std::mt19937_64 random(7);
  const World world = randomWorld(facts, random);
  Case ht = facts;
  ht.ll = false;
  ht.layout = NCCL_EP_LAYOUT_FLAT;
  ht.maxReceive = 96;
  World other = world;
  other.facts = ht;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group first(rank, groupConfig(facts)), second(rank, groupConfig(ht));
    Handle a(first, facts.layout, facts.topk), b(second, ht.layout, ht.topk);
    Round x(rank, a, facts, world.inputs[rank.rank].tokens), y(rank, b, ht, world.inputs[rank.rank].tokens);
    x.load(world);
    y.load(other);
    x.spoil();
    y.spoil();
    for (int i = 0; i < 3; ++i) {
      x.all();
      y.all();
    }
    synchronize(rank);
    x.check(world);
    y.check(other);
  });
}

}  // namespace
}  // namespace ep_test
