// 2.5-2.9 and section 4: handles.
#include <climits>

#include "ep/introspection.h"
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

constexpr int kByCode = -1;

// Runs the body on one rank with a group, in report mode.
void withGroup(const ncclEpGroupConfig_t& config, const std::function<void(Rank&, ncclEpGroup_t)>& body, int ranks = 1) {
  const Option report("misuse", "report");
  asThreads(ranks, [&](Rank& rank) {
    Group group(rank, config);
    body(rank, group);
  });
}

void expectInit(ncclEpGroup_t group, ncclEpLayout_t layout, int topk, ncclResult_t code, int end, bool written,
                ncclEpTensor_t* memory = nullptr, size_t alignment = 0) {
  const Misuses misuses;
  auto config = made<ncclEpHandleConfig_t>();
  config.dispatch_output_per_expert_alignment = alignment;
  ncclEpHandle_t handle = nullptr;
  EXPECT_EP(code, ncclEpInitHandle(&handle, group, layout, &config, topk, memory));
  EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
  EXPECT_EQ(written, handle != nullptr);
  EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));  // 2.6 item 7: safe after a failure
}

TEST(EpHandle, S25HandleMemSize) {
  withGroup(lowLatency(8, 8, 1024), [](Rank&, ncclEpGroup_t group) {
    size_t bytes = 0;
    const auto refused = [&](ncclResult_t code, int end, ncclEpGroup_t g, ncclEpLayout_t layout, size_t* out, int topk) {
      const Misuses misuses;
      EXPECT_EP(code, ncclEpHandleMemSize(g, layout, nullptr, out, topk));
      EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
    };
    refused(ncclInternalError, NCCL4J_EMU_END_ABORT, nullptr, NCCL_EP_LAYOUT_RANK_MAJOR, &bytes, 2);
    refused(ncclInternalError, NCCL4J_EMU_END_ABORT, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2);
    refused(ncclInternalError, NCCL4J_EMU_END_THROW, group, NCCL_EP_LAYOUT_UNSET, &bytes, 2);
    refused(ncclInternalError, NCCL4J_EMU_END_ABORT, group, NCCL_EP_LAYOUT_RANK_MAJOR, &bytes, 0);
    refused(ncclInternalError, NCCL4J_EMU_END_ABORT, group, NCCL_EP_LAYOUT_RANK_MAJOR, &bytes, -1);
    auto config = made<ncclEpHandleConfig_t>(15);
    EXPECT_EP(ncclInvalidArgument, ncclEpHandleMemSize(group, NCCL_EP_LAYOUT_RANK_MAJOR, &config, &bytes, 2));
    EXPECT_EQ(0u, bytes);
  });
}

TEST(EpHandle, S26LowLatency) {
  withGroup(lowLatency(40, 8, 1024), [](Rank&, ncclEpGroup_t group) {
    const Misuses misuses;
    ncclEpHandle_t handle = nullptr;
    EXPECT_EP(ncclInternalError, ncclEpInitHandle(&handle, nullptr, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
    EXPECT_EP(ncclInternalError, ncclEpInitHandle(nullptr, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
    for (const auto& record : misuses.since()) EXPECT_EQ(NCCL4J_EMU_END_ABORT, record.end);
    auto config = made<ncclEpHandleConfig_t>(8);
    EXPECT_EP(ncclInvalidArgument, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, &config, 2, nullptr));
    EXPECT_EQ(nullptr, handle);
    expectInit(group, NCCL_EP_LAYOUT_UNSET, 2, ncclInternalError, NCCL4J_EMU_END_THROW, false);
    expectInit(group, NCCL_EP_LAYOUT_FLAT, 2, ncclInternalError, NCCL4J_EMU_END_THROW, false);
    expectInit(group, static_cast<ncclEpLayout_t>(99), 2, ncclInternalError, NCCL4J_EMU_END_THROW, false);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 0, ncclInvalidArgument, kByCode, true);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, INT_MIN, ncclInvalidArgument, kByCode, true);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 33, ncclInvalidArgument, kByCode, true);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 32, ncclInvalidUsage, kByCode, true);  // 32 warps hold 31 and one more
    expectInit(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 31, ncclSuccess, kByCode, true, nullptr, 3);  // alignment is ignored
    // handle_mem: 1-D u8, large enough, with data.
    size_t bytes = 0;
    EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, &bytes, 4));
    Tensor good(ncclUint8, {bytes}), small(ncclUint8, {bytes - 1}), square(ncclUint8, {bytes, 1}), wrong(ncclInt8, {bytes});
    auto unbound = Tensor::bare(ncclUint8, {bytes});
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 4, ncclSuccess, kByCode, true, good);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 4, ncclInternalError, NCCL4J_EMU_END_ABORT, true, small);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 4, ncclInternalError, NCCL4J_EMU_END_ABORT, true, square);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 4, ncclInternalError, NCCL4J_EMU_END_ABORT, true, wrong);
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 4, ncclInternalError, NCCL4J_EMU_END_ABORT, false, *unbound);
  });
}

TEST(EpHandle, S26HighThroughput) {
  ncclEpGroupConfig_t config = highThroughput(8, 8, 1024, 64);
  config.num_topk = 4;
  withGroup(config, [](Rank&, ncclEpGroup_t group) {
    expectInit(group, NCCL_EP_LAYOUT_RANK_MAJOR, 2, ncclInternalError, NCCL4J_EMU_END_THROW, false);
    expectInit(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2, ncclInternalError, NCCL4J_EMU_END_ABORT, false, nullptr, 3);
    expectInit(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2, ncclInternalError, NCCL4J_EMU_END_UNDEFINED, true, nullptr, size_t{1} << 63);
    expectInit(group, NCCL_EP_LAYOUT_FLAT, 2, ncclSuccess, kByCode, true, nullptr, 3);
    expectInit(group, NCCL_EP_LAYOUT_FLAT, -1, ncclInvalidUsage, kByCode, true);
    expectInit(group, NCCL_EP_LAYOUT_FLAT, 5, ncclInvalidUsage, kByCode, true);
    expectInit(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 4, ncclSuccess, kByCode, true, nullptr, 1);
  });
  // Eager groups with EXPERT_MAJOR need the group's top-k.
  withGroup(highThroughput(8, 8, 1024, 0), [](Rank&, ncclEpGroup_t group) {
    expectInit(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2, ncclInvalidUsage, kByCode, true);
    expectInit(group, NCCL_EP_LAYOUT_FLAT, 2, ncclSuccess, kByCode, true);
  });
}

TEST(EpHandle, C2ExpertsThatRanksCannotShare) {
  withGroup(lowLatency(9, 8, 1024), [](Rank&, ncclEpGroup_t group) {
    const Misuses misuses;
    ncclEpHandle_t handle = nullptr;
    EXPECT_EP(ncclInternalError, ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, 2, nullptr));
    EXPECT_EQ(nullptr, handle);
  }, 2);
}

TEST(EpHandle, S27UpdateLowLatency) {
  withGroup(lowLatency(8, 8, 1024), [](Rank& rank, ncclEpGroup_t group) {
    Handle handle(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2);
    const auto info = made<ncclEpLayoutInfo_t>();
    const auto refused = [&](ncclEpTensor_t* topk, const ncclEpLayoutInfo_t* layout, int end) {
      const Misuses misuses;
      EXPECT_EP(end == kByCode ? ncclInvalidArgument : ncclInternalError, ncclEpUpdateHandle(handle, topk, layout, rank.stream));
      EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
    };
    Tensor good(ncclInt32, {4, 2}), line(ncclInt32, {4}), floats(ncclFloat32, {4, 2}), wide(ncclInt32, {4, 3});
    auto badInfo = info;
    badInfo.size = 39;
    refused(good, &badInfo, kByCode);
    refused(line, nullptr, NCCL4J_EMU_END_ABORT);
    refused(floats, nullptr, NCCL4J_EMU_END_ABORT);
    refused(wide, nullptr, NCCL4J_EMU_END_ABORT);
    refused(good, &info, NCCL4J_EMU_END_ABORT);
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpUpdateHandle(nullptr, good, nullptr, rank.stream));
    EXPECT_EQ(NCCL4J_EMU_END_ABORT, misuses.lastEnd());
    // T above B is found by the dispatch only.
    Tensor many(ncclInt64, {9, 2});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, many, nullptr, rank.stream));
  });
}

TEST(EpHandle, S27UpdateHighThroughput) {
  withGroup(highThroughput(8, 8, 1024, 64), [](Rank& rank, ncclEpGroup_t group) {
    Handle flat(group, NCCL_EP_LAYOUT_FLAT, 2), expert(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, 2);
    Tensor topk(ncclInt32, {8, 2});
    topk.write(std::vector<int32_t>(16, -1));
    const auto refused = [&](ncclEpHandle_t handle, Tensor& routing, const ncclEpLayoutInfo_t& info) {
      const Misuses misuses;
      EXPECT_EP(ncclInternalError, ncclEpUpdateHandle(handle, routing, &info, rank.stream));
      EXPECT_EQ(NCCL4J_EMU_END_ABORT, misuses.lastEnd()) << misuses.lastText();
    };
    auto info = made<ncclEpLayoutInfo_t>();
    Tensor many(ncclInt32, {9, 2});
    refused(flat, many, info);
    Tensor short32(ncclInt32, {7}), long64(ncclInt64, {8}), long32(ncclInt32, {8}), one32(ncclInt32, {1}), none(ncclInt32, {0});
    info.expert_counters = short32;
    refused(flat, topk, info);
    refused(expert, topk, info);
    info.expert_counters = long64;
    refused(flat, topk, info);  // FLAT counters are int32
    info.recv_total_counter = one32;
    refused(expert, topk, info);  // widths differ
    info.expert_counters = long32;
    info.recv_total_counter = none;
    refused(flat, topk, info);
    info.recv_total_counter = one32;
    info.expert_offsets = short32;
    refused(expert, topk, info);
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(flat, topk, &info, rank.stream));  // offsets are ignored for FLAT
    info.expert_offsets = long32;
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(expert, topk, &info, rank.stream));
    synchronize(rank);
  });
}

// 2.7 item 7: the routing went around before the counters were looked at, so that the peers do not hang.
TEST(EpHandle, S27LateFailureLeavesPeersAlone) {
  const Option limit("wait_limit_ms", "20000");
  withGroup(highThroughput(8, 8, 1024, 64), [](Rank& rank, ncclEpGroup_t group) {
    Handle handle(group, NCCL_EP_LAYOUT_FLAT, 2);
    Tensor topk(ncclInt64, {1, 2}), bad(ncclFloat32, {4}), good(ncclInt32, {4}), total(ncclInt32, {1});
    topk.write(std::vector<int64_t>{0, 5});
    auto info = made<ncclEpLayoutInfo_t>();
    info.expert_counters = rank.rank == 0 ? bad : good;
    info.recv_total_counter = total;
    EXPECT_EP(rank.rank == 0 ? ncclInternalError : ncclSuccess, ncclEpUpdateHandle(handle, topk, &info, rank.stream));
    synchronize(rank);
    EXPECT_EQ(rank.rank == 0 ? 0 : 2, total.read<int32_t>()[0]);
  }, 2);
}

TEST(EpHandle, S28CreateHandle) {
  withGroup(lowLatency(8, 8, 1024), [](Rank& rank, ncclEpGroup_t group) {
    Tensor good(ncclInt64, {4, 2}), wide(ncclInt64, {4, 9});
    ncclEpHandle_t handle = nullptr;
    Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpCreateHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, nullptr, nullptr, rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpCreateHandle(nullptr, group, NCCL_EP_LAYOUT_RANK_MAJOR, good, nullptr, nullptr, rank.stream));
    EXPECT_EQ(2u, misuses.since().size());
    auto info = made<ncclEpLayoutInfo_t>(8);
    EXPECT_EP(ncclInvalidArgument, ncclEpCreateHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, good, &info, nullptr, rank.stream));
    EXPECT_EQ(nullptr, handle);
    EXPECT_EP(ncclInvalidArgument, ncclEpCreateHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, wide, nullptr, nullptr, rank.stream));
    EXPECT_NE(nullptr, handle);
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_EP(ncclSuccess, ncclEpCreateHandle(&handle, group, NCCL_EP_LAYOUT_RANK_MAJOR, good, nullptr, nullptr, rank.stream));
    EXPECT_EQ(2, ncclEpHandle_test_getNumTopk(handle));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(nullptr));
  });
}

// 4.3: routing state lies in the handle's memory. A new handle on the same bytes goes on where HT stopped; LL has lost the
// pointer to the routing.
TEST(EpHandle, S43Relocation) {
  for (const bool ll : {false, true}) {
    Case facts;
    facts.ll = ll;
    facts.layout = ll ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_EXPERT_MAJOR;
    facts.ranks = 2;
    facts.maxReceive = ll ? 0 : 96;
    facts.alignment = ll ? 1 : 4;
    std::mt19937_64 random(51);
    const World world = randomWorld(facts, random);
    asThreads(2, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      size_t bytes = 0;
      EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, facts.layout, nullptr, &bytes, facts.topk));
      Tensor memory(ncclUint8, {bytes});
      std::unique_ptr<Round> round;
      {
        Handle first(group, facts.layout, facts.topk, facts.alignment, memory);
        Round before(rank, first, facts, world.inputs[rank.rank].tokens);
        before.load(world);
        EXPECT_EP(ncclSuccess, before.update());
        synchronize(rank);
      }
      Handle second(group, facts.layout, facts.topk, facts.alignment, memory);
      Round after(rank, second, facts, world.inputs[rank.rank].tokens);
      after.load(world);
      after.spoil();
      if (ll) {
        EXPECT_EP(ncclInvalidArgument, after.dispatch());
        return;
      }
      EXPECT_EP(ncclSuccess, after.dispatch());
      synchronize(rank);
      const HtLayout layout = htLayout(world, rank.rank);
      for (size_t i = 0; i < layout.rows.size(); ++i) {
        const float expected = layout.rows[i] ? layout.rows[i]->weights[0] : 0.0f;
        EXPECT_EQ(expected, after.receivedWeights().raw<float>()[i]);
      }
    });
  }
}

// 4.7, B.7: HT works on empty maps before any update.
TEST(EpHandle, C22HtBeforeUpdate) {
  Case facts;
  facts.ll = false;
  facts.layout = NCCL_EP_LAYOUT_FLAT;
  facts.ranks = 2;
  facts.maxReceive = 64;
  std::mt19937_64 random(52);
  const World world = randomWorld(facts, random);
  const Option poison("poison", "1");
  asThreads(2, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, world.inputs[rank.rank].tokens);
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.dispatch());
    EXPECT_EP(ncclSuccess, round.combine());
    synchronize(rank);
    for (const unsigned char byte : round.received().read<unsigned char>()) ASSERT_EQ(0x5a, byte);
    for (const unsigned char byte : round.combined().read<unsigned char>()) ASSERT_EQ(0, byte);
  });
}

// 4.7: LL dispatch before update is refused, combine ends the process.
TEST(EpHandle, S47LlBeforeUpdate) {
  const Option report("misuse", "report");
  Case facts;
  facts.ranks = 1;
  asThreads(1, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, 4);
    EXPECT_EP(ncclInvalidArgument, round.dispatch());
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, round.combine());
    EXPECT_EQ(NCCL4J_EMU_END_ABORT, misuses.lastEnd());
  });
}

// The slot map is at one address from the creation of the handle on.
TEST(EpHandle, B7SlotMapStays) {
  Case facts;
  facts.ll = false;
  facts.layout = NCCL_EP_LAYOUT_FLAT;
  facts.ranks = 1;
  facts.maxReceive = 64;
  asThreads(1, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Tensor topk(ncclInt64, {4, 2});
    topk.write(std::vector<int64_t>{0, 1, 2, 3, -1, -1, 5, 6});
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpCreateHandle(&handle, group, facts.layout, topk, nullptr, nullptr, rank.stream));
    const int32_t* const map = ncclEpHandle_test_getSparseToDenseMap(handle);
    synchronize(rank);
    EXPECT_EQ((std::vector<int32_t>{0, 1, -1, 2, -1}), std::vector<int32_t>(map, map + 5));
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
    EXPECT_EQ(map, ncclEpHandle_test_getSparseToDenseMap(handle));
    unsigned count = 0;
    EXPECT_EP(ncclSuccess, ncclEpHandle_test_getNumRecvTokens(handle, &count));
    EXPECT_EQ(3u, count);
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    Group ll(rank, lowLatency(8, 8, 1024));
    Handle other(ll, NCCL_EP_LAYOUT_RANK_MAJOR, 2);
    EXPECT_EP(ncclInvalidUsage, ncclEpHandle_test_getNumRecvTokens(other, &count));
  });
}

int released = 0;

// 2.9: an owned block goes back through free_fn, whose answer nobody looks at; the caller's stays.
TEST(EpHandle, S29Destroy) {
  released = 0;
  ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
  config.alloc.alloc_fn = [](void** pointer, size_t bytes, void*) { return cudaMalloc(pointer, bytes); };
  config.alloc.free_fn = [](void* pointer, void*) {
    ++released;
    cudaFree(pointer);
    return cudaSuccess;
  };
  withGroup(config, [](Rank&, ncclEpGroup_t group) {
    size_t bytes = 0;
    EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, NCCL_EP_LAYOUT_RANK_MAJOR, nullptr, &bytes, 2));
    Tensor memory(ncclUint8, {bytes});
    { Handle handle(group, NCCL_EP_LAYOUT_RANK_MAJOR, 2); }
    EXPECT_EQ(1, released);
    { Handle handle(group, NCCL_EP_LAYOUT_RANK_MAJOR, 2, 0, memory); }
    EXPECT_EQ(1, released);
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(nullptr));
  });
  EXPECT_EQ(2, released);  // the workspace
}

// 2.4: an empty group goes away without complaint, one whose free_fn fails does not.
TEST(EpHandle, S24GroupDestroy) {
  EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(nullptr));
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
    config.alloc.alloc_fn = [](void** pointer, size_t bytes, void*) { return cudaMalloc(pointer, bytes); };
    config.alloc.free_fn = [](void* pointer, void*) {
      cudaFree(pointer);
      return cudaErrorInvalidValue;
    };
    ncclEpGroup_t group = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    { Handle ignored(group, NCCL_EP_LAYOUT_RANK_MAJOR, 2); }  // 2.9: its answer is ignored
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    EXPECT_EQ(NCCL4J_EMU_END_THROW, misuses.lastEnd());
  });
}

// 4.1: T may be anything from 0 to B, and different on every rank and after every update.
TEST(EpHandle, S41AnyNumberOfTokens) {
  for (const bool ll : {true, false}) {
    Case facts;
    facts.ll = ll;
    facts.layout = NCCL_EP_LAYOUT_EXPERT_MAJOR;
    facts.maxTokens = 4;
    facts.maxReceive = ll ? 0 : 32;
    std::mt19937_64 random(41);
    World full = randomWorld(facts, random);
    pad(full);
    asThreads(2, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk);
      for (size_t tokens = 0; tokens <= facts.maxTokens; ++tokens) {
        World world = full;
        for (size_t r = 0; r < 2; ++r) {
          Input& input = world.inputs[r];
          input.tokens = r == 0 ? tokens : facts.maxTokens - tokens;
          input.ids.resize(input.tokens * 2);
          input.weights.resize(input.tokens * 2);
          input.rows.resize(input.tokens * facts.hidden);
        }
        encodeRows(world);
        Round round(rank, handle, world);
        round.load(world);
        round.spoil();
        round.all();
        synchronize(rank);
        round.check(world);
      }
    });
  }
}

}  // namespace
}  // namespace ep_test
