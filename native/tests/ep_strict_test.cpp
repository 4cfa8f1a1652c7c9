// Faults that servers, users and attacks have met, as the emulator finds them: A = alignment of addresses; N, R and H
// are the lines of docs/evidence/emulator-rules.md.
#include <sys/wait.h>

#include <chrono>

#include "ep_step.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

constexpr auto kExpert = NCCL_EP_LAYOUT_EXPERT_MAJOR;
constexpr auto kRank = NCCL_EP_LAYOUT_RANK_MAJOR;
constexpr auto kFlat = NCCL_EP_LAYOUT_FLAT;
constexpr std::pair<bool, ncclEpLayout_t> kLayouts[] = {
    {true, kExpert}, {true, kRank}, {false, kFlat}, {false, kExpert}};

std::string errorText(int device) {
  char text[1024] = "";
  EXPECT_EQ(0, nccl4jEmuErrorText(device, text, sizeof text));
  return text;
}

void expectFault(const Rank& rank, cudaError_t error, const std::string& part) {
  EXPECT_CUDA(error, cudaStreamSynchronize(rank.stream));
  const std::string text = errorText(rank.rank);
  EXPECT_NE(std::string::npos, text.find(part)) << text;
}

// A tensor is moved by `bytes`: the call is taken, the device fails when the work runs, and the reason names tensor and
// unit.
void expectMisaligned(const Case& facts, const char* name, int bytes, int unit,
                      const std::function<ncclEpTensor_t*(Step&)>& tensor,
                      const std::function<ncclResult_t(Step&)>& call) {
  SCOPED_TRACE(facts.describe() + ": " + name);
  withFailingStep(facts, [&](Rank& rank, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    synchronize(rank);
    ncclEpTensor_t* const moved = tensor(step);
    moved->data = static_cast<char*>(moved->data) + bytes;
    EXPECT_EP(ncclSuccess, call(step));
    EXPECT_CUDA(cudaErrorMisalignedAddress, cudaStreamSynchronize(rank.stream));
    const std::string text = errorText(rank.rank);
    EXPECT_NE(std::string::npos, text.find(name)) << text;
    EXPECT_NE(std::string::npos, text.find("no multiple of " + std::to_string(unit) + " bytes")) << text;
    EXPECT_CUDA(cudaErrorMisalignedAddress, cudaDeviceSynchronize());  // sticky
  });
}

ncclResult_t dispatches(Step& step) { return step.dispatch(); }
ncclResult_t combines(Step& step) { return step.combine(); }

TEST(EpStrict, A1RowsMoveInPackets) {
  for (const auto& [ll, layout] : kLayouts) {
    const Case facts = one(ll, layout);
    expectMisaligned(facts, "inputs.tokens", 8, 16, [](Step& s) { return s.in.get(); }, dispatches);
    expectMisaligned(facts, "outputs.tokens", 8, 16, [](Step& s) { return s.out.get(); }, dispatches);
    expectMisaligned(facts, "inputs.tokens", 8, 16, [](Step& s) { return s.out.get(); }, combines);
    expectMisaligned(facts, "outputs.tokens", 8, 16, [](Step& s) { return s.combined.get(); }, combines);
  }
}

TEST(EpStrict, A2WeightsByTheirElement) {
  for (const auto& [ll, layout] : {kLayouts[1], kLayouts[2], kLayouts[3]}) {
    const Case facts = one(ll, layout);
    expectMisaligned(facts, "inputs.topk_weights", 2, 4, [](Step& s) { return s.weights.get(); }, dispatches);
    expectMisaligned(facts, "outputs.topk_weights", 2, 4, [](Step& s) { return s.outWeights.get(); }, dispatches);
  }
  expectMisaligned(one(true, kExpert), "outputs.topk_weights", 2, 4, [](Step& s) { return s.weights.get(); }, combines);
}

TEST(EpStrict, A3RoutingByItsElement) {
  for (const auto& [ll, layout] : kLayouts) {
    // LL keeps the pointer at the update and reads it when its operations run.
    const auto again = [low = ll](Step& s) { return low ? (s.update(), s.dispatch()) : s.update(); };
    expectMisaligned(one(ll, layout), "topk_idx", 4, 8, [](Step& s) { return s.topk.get(); }, again);
  }
  expectMisaligned(one(true, kRank), "outputs.topk_idx", 2, 4, [](Step& s) { return s.outIds.get(); }, dispatches);
  expectMisaligned(one(false, kFlat), "outputs.topk_idx", 4, 8, [](Step& s) { return s.outIds.get(); }, dispatches);
}

TEST(EpStrict, A4CountersByTheirElement) {
  expectMisaligned(one(true, kExpert), "expert_counters", 2, 4, [](Step& s) { return s.counters.get(); }, dispatches);
  expectMisaligned(one(true, kRank), "src_rank_counters", 2, 4, [](Step& s) { return s.counters.get(); }, dispatches);
  for (const ncclDataType_t type : {ncclInt32, ncclInt64}) {
    withFailingStep(one(false, kExpert), [&](Rank& rank, ncclEpHandle_t handle, Step& step) {
      Tensor counts(type, {8}), total(type, {2});
      auto info = made<ncclEpLayoutInfo_t>();
      info.expert_counters = counts;
      info.recv_total_counter = total;
      total->data = total.raw<char>() + bytesOf(type) / 2;
      EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, step.topk, &info, rank.stream));
      expectFault(rank, cudaErrorMisalignedAddress, "recv_total_counter");
    });
  }
}

// The factors of DS_FP8E3M4 are written one by one: 4 bytes are enough.
TEST(EpStrict, A5FactorsByTheirElement) {
  const Case facts = one(true, kRank);
  withStep(facts, [](Rank& rank, ncclEpHandle_t, Step& step) {
    Tensor out(ncclFloat8e4m3, {1, 8, 512}), factors(ncclFloat32, {1, 8, 4}), room(ncclFloat32, {40});
    step.config.quant_recipe = NCCL_EP_DISP_QUANT_DS_FP8E3M4;
    step.outputs.tokens = out;
    step.outputs.scales = factors;
    void* const own = factors->data;
    factors->data = room.raw<char>() + 4;
    EXPECT_EP(ncclSuccess, step.dispatch());
    synchronize(rank);
    factors->data = own;
  });
}

// The input row, 2 H bytes, must fit max_token_bytes, although H + H/32 travel.
TEST(EpStrict, N1InputRowsOfEveryRecipeFit) {
  for (const ncclEpLayout_t layout : {kRank, kExpert}) {
    for (const unsigned bytes : {512u + 16u, 1008u, 1024u}) {
      const Option report("misuse", "report");
      const Case facts = one(true, layout);
      asThreads(1, [&](Rank& rank) {
        Group group(rank, lowLatency(8, 8, bytes));
        Handle handle(group, layout, facts.topk);
        Step step(rank, handle, facts, 4);
        EXPECT_EP(ncclSuccess, step.update());
        const size_t outer = facts.expertMajor() ? 8 : 1;
        Tensor out(ncclFloat8e4m3, {outer, 8, 512}), factors(ncclFloat32, {outer, 8, 4});
        const bool fits = bytes >= 1024;
        step.dispatchAnswers(fits ? ncclSuccess : ncclInternalError, fits ? kByCode : kAbort, [&](Step& s) {
          s.config.quant_recipe = NCCL_EP_DISP_QUANT_DS_FP8E3M4;
          s.outputs.tokens = out;
          s.outputs.scales = factors;
        });
        synchronize(rank);
      });
    }
  }
}

// Only one dispatch at a time of what `tokens` tokens of each rank become.
World fewTokens(World world, size_t tokens) {
  for (Input& input : world.inputs) {
    std::fill(input.ids.begin() + static_cast<std::ptrdiff_t>(tokens) * world.facts.topk, input.ids.end(), -1);
  }
  return world;
}

// Behind the rows in use a captured FLAT dispatch leaves what lies in staging: zeros until a dispatch has written
// there.
TEST(EpStrict, N2RowsBehindTheCountOfACapturedDispatch) {
  Case facts = one(false, kFlat);
  facts.ranks = 2;
  facts.hidden = 64;
  facts.maxTokens = 8;
  facts.maxReceive = 40;
  std::mt19937_64 random(12);
  World full = randomWorld(facts, random);
  pad(full);
  for (Input& input : full.inputs) {
    for (size_t i = 0; i < input.ids.size(); ++i) input.ids[i] = static_cast<int64_t>(i) % facts.experts;
  }
  const World none = fewTokens(full, 0), few = fewTokens(full, 3);
  for (const bool poison : {false, true}) {
    const Option option("poison", poison ? "1" : "0");
    asThreads(facts.ranks, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk);
      RoundOptions options;
      options.captured = true;
      Round round(rank, handle, facts, facts.maxTokens, options);
      round.load(full);
      Captured graph(rank, [&] { round.all(); });
      const size_t rowBytes = facts.hidden * 2, staged = static_cast<size_t>(facts.ranks) * facts.maxTokens;
      size_t written = 0;
      for (const World* world : std::initializer_list<const World*>{&none, &few, &full, &few}) {
        round.load(*world);
        round.spoil();
        graph.launch(rank);
        synchronize(rank);
        const size_t used = htLayout(*world, rank.rank).flat.size();
        written = std::max(written, used);
        const auto bytes = round.received().read<unsigned char>();
        for (size_t i = used * rowBytes; i < bytes.size(); ++i) {
          const bool leftover = i < written * rowBytes || poison;
          ASSERT_EQ(i >= staged * rowBytes ? 0x5a
                    : leftover             ? 0xdb
                                           : 0,
                    bytes[i])
              << i / rowBytes << " " << used << " " << written;
        }
      }
    });
  }
}

// The library's own checks answer first, whatever is found only here.
TEST(EpStrict, N3TheLibrarysChecksComeFirst) {
  withStep(one(false, kFlat), [](Rank&, ncclEpHandle_t, Step& step) {
    // Columns are not looked at by the library, rows are.
    Tensor narrow(ncclFloat32, {3, 1}), wide(ncclFloat32, {32, 3}), ids(ncclInt64, {3, 1}), wideIds(ncclInt64, {32, 3});
    const auto bend = [](Tensor& weights, Tensor& topk) {
      return [&](Step& s) {
        s.outputs.topk_weights = weights;
        s.outputs.topk_idx = topk;
      };
    };
    step.dispatchAnswers(ncclInvalidArgument, kByCode, bend(narrow, ids));
    step.dispatchAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, bend(wide, wideIds));
    Tensor columns(ncclBfloat16, {32, 256}), fewWeights(ncclFloat32, {3, 2}), fewIds(ncclInt64, {3, 2});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) {
      s.outputs.tokens = columns;
      s.outputs.topk_weights = fewWeights;
      s.outputs.topk_idx = fewIds;
    });
    step.dispatchAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, [&](Step& s) { s.outputs.tokens = columns; });
    // Combine, backward: too few rows of weights, and an output of no shape.
    Tensor three(ncclFloat32, {3, 2}), home(ncclFloat32, {4, 2}), line(ncclBfloat16, {4});
    const auto backward = [&](Step& s) {
      s.combineConfig.pass_direction = NCCL_EP_BWD_PASS;
      s.back.topk_weights = three;
      s.home.topk_weights = home;
    };
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) {
      backward(s);
      s.home.tokens = line;
    });
    step.combineAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, backward);
  });
  withStep(one(true, kRank), [](Rank& rank, ncclEpHandle_t, Step& step) {
    // A window-only output of a staged dispatch is undefined, but a length that no kernel has is refused before.
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, 1 << 20));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(rank.comm, memory, 1 << 20, &window, NCCL_WIN_COLL_SYMMETRIC));
    Tensor in(ncclBfloat16, {4, 144});
    auto odd = Tensor::bare(ncclBfloat16, {1, 8, 144}), whole = Tensor::bare(ncclBfloat16, {1, 8, 512});
    (*odd)->win_hdl = (*whole)->win_hdl = window;
    step.dispatchAnswers(ncclInternalError, kByCode, [&](Step& s) {
      s.config.send_only = 1;
      s.inputs.tokens = in;
      s.outputs.tokens = *odd;
    });
    step.dispatchAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, [&](Step& s) {
      s.config.send_only = 1;
      s.outputs.tokens = *whole;
    });
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(rank.comm, window));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
}

// The slot map of the modes that duplicate rows has 22 bits for a row.
TEST(EpStrict, R6ReceiveRowsOfTheSlotMap) {
  const Option report("misuse", "report");
  for (const unsigned rows : {(1u << 22) - 1, 1u << 22}) {
    asThreads(1, [&](Rank& rank) {
      ncclEpGroupConfig_t config = highThroughput(4, 8, 16, rows);
      config.zero_copy = NCCL_EP_ZERO_COPY_ON;
      Group group(rank, config);
      Handle handle(group, kExpert, 2);
      Tensor topk(ncclInt64, {4, 2});
      const Misuses misuses;
      EXPECT_EP(rows < 1u << 22 ? ncclSuccess : ncclInternalError,
                ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
      EXPECT_EQ(rows < 1u << 22 ? kByCode : NCCL4J_EMU_END_UNDEFINED, misuses.lastEnd()) << misuses.lastText();
      synchronize(rank);
    });
  }
}

// LL counts up to 16383 rows of one rank for another.
TEST(EpStrict, R6RowsOfOneRankForAnother) {
  for (const size_t tokens : {size_t{16383}, size_t{16384}}) {
    Case facts = one(true, kRank);
    facts.maxTokens = 16384;
    facts.hidden = 256;
    const Option report("misuse", "report");
    asThreads(1, [&](Rank& rank) {
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = groupConfig(facts);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t handle = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
      auto step = std::make_unique<Step>(rank, handle, facts, tokens);
      EXPECT_EP(ncclSuccess, step->update());
      EXPECT_EP(ncclSuccess, step->dispatch());
      const bool fits = tokens <= 16383;
      if (fits) {
        synchronize(rank);
      } else {
        expectFault(rank, cudaErrorLaunchFailure, "16384 rows for rank 0: the kernels count 16383");
      }
      step.reset();
      if (!fits) {
        EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
        EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      }
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_EP(fits ? ncclSuccess : ncclInternalError, ncclEpGroupDestroy(group));
    });
  }
}

// int32 routing is looked at like int64 routing: its range, and its own alignment.
TEST(EpStrict, R10Int32Routing) {
  for (const auto& [ll, layout] : kLayouts) {
    for (const int offset : {0, 2}) {
      withFailingStep(one(ll, layout), [&](Rank& rank, ncclEpHandle_t handle, Step& step) {
        Tensor narrow(ncclInt32, {4, 2}), room(ncclInt32, {9});
        const std::vector<int32_t> ids = {0, 1, 2, 3, -1, -1, 4, offset == 0 ? 8 : 5};
        narrow.write(ids);
        if (offset != 0) narrow->data = room.raw<char>() + offset;
        EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, narrow, nullptr, rank.stream));
        if (step.info.expert_counters != nullptr || step.info.src_rank_counters != nullptr) {
          EXPECT_EP(ncclSuccess, step.dispatch());
        }
        if (offset == 0) {
          expectFault(rank, cudaErrorLaunchFailure, "topk_idx holds expert 8, there are 8");
        } else {
          expectFault(rank, cudaErrorMisalignedAddress, "topk_idx: address");
        }
      });
    }
  }
}

// Rows of topk_idx become [0, 0, .., 0] in a graph: the reason is the overfull zone, not what a combine misses later.
TEST(EpStrict, R15PaddingRowsOfZeros) {
  Case facts = one(true, kExpert);
  facts.topk = 4;
  withFailingStep(facts, [](Rank& rank, ncclEpHandle_t, Step& step) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph));
    ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
    synchronize(rank);
    step.topk.fill(0);
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
    expectFault(rank, cudaErrorLaunchFailure, "more than 8 rows arrive for expert 0");
    EXPECT_EP(ncclInternalError, step.dispatch());  // and so says what the next call answers
    EXPECT_NE(nullptr, std::strstr(ncclGetLastError(nullptr), "more than 8 rows arrive for expert 0"))
        << ncclGetLastError(nullptr);
    EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec));
    EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
  });
}

// The reason of a refused call is what ncclGetLastError answers.
TEST(EpStrict, R15ReasonOfARefusedCall) {
  withStep(one(true, kExpert), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    step.inputs.size = 31;
    EXPECT_EP(ncclInvalidArgument, step.dispatch());
    EXPECT_NE(nullptr, std::strstr(ncclGetLastError(nullptr), "inputs: size 31")) << ncclGetLastError(nullptr);
    EXPECT_EP(ncclInternalError, ncclEpUpdateHandle(handle, nullptr, nullptr, rank.stream));
    EXPECT_NE(nullptr, std::strstr(ncclGetLastError(nullptr), "topk_idx: NULL")) << ncclGetLastError(nullptr);
  });
}

// An expert id out of range at a replay: the replay answers with an error that says so.
TEST(EpStrict, R16ExpertOutOfRangeAtReplay) {
  for (const auto& [ll, layout] : kLayouts) {
    withFailingStep(one(ll, layout), [&, low = ll](Rank& rank, ncclEpHandle_t, Step& step) {
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t exec = nullptr;
      ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
      EXPECT_EP(ncclSuccess, low ? step.dispatch() : step.update());
      ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph));
      ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
      EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
      synchronize(rank);
      step.topk.raw<int64_t>()[3] = int64_t{1} << 31;
      const Misuses misuses;
      EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, rank.stream));
      expectFault(rank, cudaErrorLaunchFailure, "topk_idx holds expert 2147483648, there are 8");
      EXPECT_EQ(NCCL4J_EMU_END_UNDEFINED, misuses.lastEnd());
      EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec));
      EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
    });
  }
}

size_t freeBytes() {
  size_t free = 0, total = 0;
  EXPECT_CUDA(cudaSuccess, cudaMemGetInfo(&free, &total));
  return free;
}

// Buffers of a group count as memory of the device, and what is not there ends the process.
TEST(EpStrict, H1GroupsThatDoNotFit) {
  const Option report("misuse", "report"), memory("device_memory", "67108864");
  asThreads(1, [](Rank& rank) {
    const size_t before = freeBytes();
    for (const bool ll : {true, false}) {
      {
        Group group(rank, ll ? lowLatency(8, 64, 1024) : highThroughput(8, 64, 1024, 1024));
        Handle handle(group, ll ? kExpert : kFlat, 2);
        EXPECT_LT(freeBytes() + (32u << 20), before);  // the workspace is not all
      }
      EXPECT_EQ(before, freeBytes());
    }
    ncclEpGroup_t group = nullptr;
    const Misuses misuses;
    const ncclEpGroupConfig_t large = highThroughput(8, 4096, 4096, 4096);
    EXPECT_EP(ncclInternalError, ncclEpCreateGroup(&group, rank.comm, &large));
    EXPECT_EQ(NCCL4J_EMU_END_EXIT, misuses.lastEnd());
    EXPECT_NE(std::string::npos, misuses.lastText().find("allocation failed: ")) << misuses.lastText();
    EXPECT_NE(std::string::npos, misuses.lastText().find("device 0 has ")) << misuses.lastText();
    EXPECT_EQ(before, freeBytes());
  });
}

// LL takes its buffer when the first handle is made; handle memory comes from the allocator.
TEST(EpStrict, H1HandlesThatDoNotFit) {
  const Option report("misuse", "report"), memory("device_memory", "67108864");
  for (const bool ll : {true, false}) {
    asThreads(1, [&](Rank& rank) {
      Group group(rank, ll ? lowLatency(256, 1024, 4096) : highThroughput(8, 8, 16, 8));
      void* filler = nullptr;
      EXPECT_CUDA(cudaSuccess, cudaMalloc(&filler, ll ? 256 : freeBytes()));
      ncclEpHandle_t handle = nullptr;
      const Misuses misuses;
      EXPECT_EP(ncclInternalError, ncclEpInitHandle(&handle, group, ll ? kExpert : kFlat, nullptr, 2, nullptr));
      EXPECT_EQ(ll ? NCCL4J_EMU_END_EXIT : NCCL4J_EMU_END_THROW, misuses.lastEnd()) << misuses.lastText();
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_CUDA(cudaSuccess, cudaFree(filler));
    });
  }
}

void takesTooMuch(const std::vector<std::string>& parameters) {
  EXPECT_EQ(0, nccl4jEmuSetOption("device_memory", "67108864"));
  nccl_test::asRank(nccl_test::fromHex(parameters[0]), 1, 0, [](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t large = highThroughput(8, 4096, 4096, 4096);
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &large));
  });
}
const nccl_test::RoleOf takesTooMuchRole("ep_takes_too_much", takesTooMuch);

TEST(EpStrict, H1EndsTheProcess) {
  const int status = nccl_test::Child("ep_takes_too_much", {nccl_test::toHex(nccl_test::makeId())}).join();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE) << status;
}

// A peer is gone when a group is destroyed: HT closes at once, LL does not come back before the limit of waits.
TEST(EpStrict, H3DestroyWithoutAPeer) {
  const Option report("misuse", "report"), limit("wait_limit_ms", "1500");
  for (const bool ll : {true, false}) {
    Barrier barrier(2);
    asThreads(2, [&](Rank& rank) {
      const Case facts = one(ll, ll ? kRank : kFlat);
      ncclEpGroupConfig_t config = groupConfig(facts);
      ncclEpGroup_t group = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      barrier.meet();
      if (rank.rank == 1) {
        EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
      }
      barrier.meet();
      if (rank.rank == 0) {
        const Misuses misuses;
        const auto start = std::chrono::steady_clock::now();
        EXPECT_EP(ll ? ncclInternalError : ncclSuccess, ncclEpGroupDestroy(group));
        const auto took = std::chrono::steady_clock::now() - start;
        EXPECT_EQ(ll, took >= std::chrono::milliseconds(1500));
        EXPECT_EQ(ll ? NCCL4J_EMU_END_EXIT : kByCode, misuses.lastEnd());
        EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
      }
      barrier.meet();
      EXPECT_NCCL(ncclSuccess, ncclCommInitAll(&rank.comm, 1, &rank.rank));
    });
  }
}

// LL: what waits for the peer for ever ends when the waits are broken.
TEST(EpStrict, H3BrokenWaitsEndADestroy) {
  const Option report("misuse", "report"), limit("wait_limit_ms", "60000");
  Barrier barrier(2);
  asThreads(2, [&](Rank& rank) {
    const ncclEpGroupConfig_t config = groupConfig(one(true, kRank));
    ncclEpGroup_t group = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    if (rank.rank == 1) {
      EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
      EXPECT_EQ(0, nccl4jEmuBreakWaits("test"));
    } else {
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
      EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
    }
    barrier.meet();
    EXPECT_EQ(0, nccl4jEmuBreakWaits(nullptr));
    EXPECT_NCCL(ncclSuccess, ncclCommInitAll(&rank.comm, 1, &rank.rank));
  });
}

// Two groups of one communicator, updated in different order: NCCL would exchange the routing of one for that of the other.
TEST(EpStrict, O1OrderOfUpdates) {
  const Option report("misuse", "report"), limit("wait_limit_ms", "20000");
  Case facts = one(false, kFlat);
  facts.ranks = 2;
  Barrier barrier(2);
  asThreads(2, [&](Rank& rank) {
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ncclEpGroup_t groups[2] = {};
    ncclEpHandle_t handles[2] = {};
    for (int i = 0; i < 2; ++i) {
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&groups[i], rank.comm, &config));
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handles[i], groups[i], facts.layout, nullptr, facts.topk, nullptr));
    }
    auto topk = std::make_unique<Tensor>(ncclInt64, std::vector<size_t>{4, 2});
    for (const int i : {0, 1}) EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handles[i], *topk, nullptr, rank.stream));
    synchronize(rank);
    barrier.meet();
    for (const int i : {rank.rank, 1 - rank.rank}) (void)ncclEpUpdateHandle(handles[i], *topk, nullptr, rank.stream);
    expectFault(rank, cudaErrorLaunchFailure, "ncclEpUpdateHandle of group");
    topk.reset();
    barrier.meet();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    for (int i = 0; i < 2; ++i) {
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handles[i]));
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(groups[i]));
    }
    EXPECT_NCCL(ncclSuccess, ncclCommAbort(rank.comm));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommInitAll(&rank.comm, 1, &rank.rank));
  });
}

}  // namespace
}  // namespace ep_test
