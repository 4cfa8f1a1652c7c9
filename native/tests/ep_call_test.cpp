// 2.10-2.12: what dispatch, combine and complete check, in which order, with which answer.
#include "ep/introspection.h"
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

constexpr int kByCode = -1;

// Everything that a dispatch and a combine of one rank need, for tests to bend.
class Step {
 public:
  Step(const Rank& rank, ncclEpHandle_t handle, const Case& facts, size_t count)
      : rank_(rank), handle_(handle), tokens(count), budget(facts.maxReceive), hidden(facts.hidden), k(static_cast<size_t>(facts.topk)),
        topk(ncclInt64, {count, k}), weights(ncclFloat32, {count, k}), in(facts.type, {count, hidden}),
        out(facts.type, facts.ll ? (facts.expertMajor() ? Sizes{static_cast<size_t>(facts.local()), facts.ranks * facts.maxTokens, hidden}
                                                        : Sizes{static_cast<size_t>(facts.ranks), facts.maxTokens, hidden})
                                 : Sizes{budget, hidden}),
        outWeights(ncclFloat32, facts.ll ? Sizes{static_cast<size_t>(facts.ranks), facts.maxTokens, k}
                                         : facts.expertMajor() ? Sizes{budget} : Sizes{budget, k}),
        outIds(facts.ll ? ncclInt32 : ncclInt64, facts.ll ? Sizes{static_cast<size_t>(facts.ranks), facts.maxTokens, k} : Sizes{budget, k}),
        counters(ncclInt32, {static_cast<size_t>(facts.expertMajor() ? facts.local() : facts.ranks)}), combined(facts.type, {count, hidden}) {
    inputs.tokens = in;
    outputs.tokens = out;
    if (!facts.ll || !facts.expertMajor()) {
      inputs.topk_weights = weights;
      outputs.topk_weights = outWeights;
    }
    if (!facts.expertMajor()) outputs.topk_idx = outIds;
    if (facts.ll) (facts.expertMajor() ? info.expert_counters : info.src_rank_counters) = counters;
    back.tokens = out;
    home.tokens = combined;
    if (facts.ll && facts.expertMajor()) home.topk_weights = weights;
    std::vector<int64_t> ids(count * k);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i) % facts.experts;
    topk.write(ids);
  }

  ncclResult_t update() { return ncclEpUpdateHandle(handle_, topk, nullptr, rank_.stream); }
  ncclResult_t dispatch() { return ncclEpDispatch(handle_, &inputs, &outputs, &info, &config, rank_.stream); }
  ncclResult_t combine() { return ncclEpCombine(handle_, &back, &home, &combineConfig, rank_.stream); }

  // The answer when something is bent, and how the real library would have ended.
  void dispatchAnswers(ncclResult_t code, int end, const std::function<void(Step&)>& bend) {
    const auto keptInputs = inputs;
    const auto keptOutputs = outputs;
    const auto keptInfo = info;
    const auto keptConfig = config;
    const Misuses misuses;
    bend(*this);
    EXPECT_EP(code, dispatch());
    EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
    inputs = keptInputs;
    outputs = keptOutputs;
    info = keptInfo;
    config = keptConfig;
  }
  void combineAnswers(ncclResult_t code, int end, const std::function<void(Step&)>& bend) {
    const auto keptInputs = back;
    const auto keptOutputs = home;
    const auto keptConfig = combineConfig;
    const Misuses misuses;
    bend(*this);
    EXPECT_EP(code, combine());
    EXPECT_EQ(end, misuses.lastEnd()) << misuses.lastText();
    back = keptInputs;
    home = keptOutputs;
    combineConfig = keptConfig;
  }

 private:
  using Sizes = std::vector<size_t>;
  const Rank& rank_;
  const ncclEpHandle_t handle_;

 public:
  size_t tokens, budget, hidden, k;
  Tensor topk, weights, in, out, outWeights, outIds, counters, combined;
  ncclEpDispatchInputs_t inputs = made<ncclEpDispatchInputs_t>();
  ncclEpDispatchOutputs_t outputs = made<ncclEpDispatchOutputs_t>();
  ncclEpLayoutInfo_t info = made<ncclEpLayoutInfo_t>();
  ncclEpDispatchConfig_t config = made<ncclEpDispatchConfig_t>();
  ncclEpCombineInputs_t back = made<ncclEpCombineInputs_t>();
  ncclEpCombineOutputs_t home = made<ncclEpCombineOutputs_t>();
  ncclEpCombineConfig_t combineConfig = made<ncclEpCombineConfig_t>();
};

void withStep(const Case& facts, const std::function<void(Rank&, ncclEpHandle_t, Step&)>& body, size_t tokens = 4) {
  const Option report("misuse", "report");
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    Step step(rank, handle, facts, tokens);
    EXPECT_EP(ncclSuccess, step.update());
    body(rank, handle, step);
    synchronize(rank);
  });
}

Case one(bool ll, ncclEpLayout_t layout) {
  Case facts;
  facts.ll = ll;
  facts.layout = layout;
  facts.ranks = 1;
  facts.maxTokens = 8;
  if (!ll) facts.maxReceive = 32;
  return facts;
}

constexpr auto kAbort = NCCL4J_EMU_END_ABORT;

// 2.10, the common prefix; shared by all layouts.
void commonPrefix(Step& step, ncclEpHandle_t handle, const Rank& rank) {
  EXPECT_EP(ncclInvalidArgument, ncclEpDispatch(handle, nullptr, &step.outputs, nullptr, nullptr, rank.stream));
  EXPECT_EP(ncclInvalidArgument, ncclEpDispatch(handle, &step.inputs, nullptr, nullptr, nullptr, rank.stream));
  step.dispatchAnswers(ncclInvalidArgument, kByCode, [](Step& s) { s.inputs.size = 31; });
  step.dispatchAnswers(ncclInvalidArgument, kByCode, [](Step& s) { s.outputs.magic = 0; });
  step.dispatchAnswers(ncclInvalidArgument, kByCode, [](Step& s) { s.info.size = 0; });
  step.dispatchAnswers(ncclInvalidArgument, kByCode, [](Step& s) { s.config.size = 19; });
  step.dispatchAnswers(ncclInternalError, kAbort, [](Step& s) { s.inputs.tokens = nullptr; });
  Tensor bad(ncclBfloat16, {4, 512});
  bad->magic = 1;
  step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = bad; });
  step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.tokens = bad; });
  step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.scales = bad; });
  Tensor cube(ncclBfloat16, {4, 512, 1});
  step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.inputs.tokens = cube; });
  const Misuses misuses;
  EXPECT_EP(ncclInternalError, ncclEpDispatch(nullptr, &step.inputs, &step.outputs, &step.info, nullptr, rank.stream));
  EXPECT_EQ(NCCL4J_EMU_END_UNDEFINED, misuses.lastEnd());
}

TEST(EpCall, S210LlExpertMajor) {
  withStep(one(true, NCCL_EP_LAYOUT_EXPERT_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    commonPrefix(step, handle, rank);
    Tensor three(ncclBfloat16, {3, 512}), odd(ncclBfloat16, {4, 24}), wide(ncclBfloat16, {4, 528}), oddOut(ncclBfloat16, {8, 8, 24});
    Tensor wrongOut(ncclBfloat16, {8, 4, 512}), wideOut(ncclBfloat16, {8, 8, 528}), weights(ncclFloat32, {4, 2}), ids(ncclInt32, {1, 8, 2});
    Tensor seven(ncclInt32, {7}), longs(ncclInt64, {8});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = three; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = odd; s.outputs.tokens = oddOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = wide; s.outputs.tokens = wideOut; });  // above max_token_bytes
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.tokens = wrongOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = weights; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = weights; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = ids; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.info.expert_counters = nullptr; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.info.expert_counters = seven; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.info.expert_counters = longs; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.info.src_rank_counters = seven; });
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, ncclEpDispatch(handle, &step.inputs, &step.outputs, nullptr, nullptr, rank.stream));
    EXPECT_EQ(kAbort, misuses.lastEnd());
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

// 5.1, C26: row lengths that the generated kernels refuse.
TEST(EpCall, S51RowLengths) {
  for (const auto& [type, hidden, good] : {std::tuple{ncclBfloat16, 256, true}, {ncclBfloat16, 128, false}, {ncclFloat32, 128, true}, {ncclFloat32, 64, false}}) {
    Case facts = one(true, NCCL_EP_LAYOUT_RANK_MAJOR);
    facts.type = type;
    facts.hidden = static_cast<size_t>(hidden);
    const ncclResult_t expected = good ? ncclSuccess : ncclInternalError;
    withStep(facts, [&](Rank&, ncclEpHandle_t, Step& step) {
      EXPECT_EP(expected, step.dispatch());
      // Combine takes multiples of 512 for every type; anything that is no multiple of 128 aborts before.
      const Misuses misuses;
      EXPECT_EP(ncclInternalError, step.combine());
      EXPECT_EQ(step.hidden % 128 == 0 ? kByCode : static_cast<int>(kAbort), misuses.lastEnd());
    });
  }
}

TEST(EpCall, S210LlRankMajor) {
  withStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    commonPrefix(step, handle, rank);
    Tensor wrongWeights(ncclFloat32, {4, 3}), halves(ncclFloat16, {4, 2}), wrongOut(ncclBfloat16, {1, 7, 512}), longIds(ncclInt64, {1, 8, 2});
    Tensor two(ncclInt32, {2});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = nullptr; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = wrongWeights; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = halves; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.tokens = wrongOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = nullptr; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = wrongWeights; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = nullptr; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = longIds; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.info.expert_counters = two; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.info.src_rank_counters = two; });
    // Optional: the counters, and all of layout_info.
    step.dispatchAnswers(ncclSuccess, kByCode, [&](Step& s) { s.info.src_rank_counters = nullptr; });
    EXPECT_EP(ncclSuccess, ncclEpDispatch(handle, &step.inputs, &step.outputs, nullptr, nullptr, rank.stream));
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

TEST(EpCall, S210T) {
  Case facts = one(true, NCCL_EP_LAYOUT_RANK_MAJOR);
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) {
    const Misuses misuses;
    EXPECT_EP(ncclInternalError, step.dispatch());  // T above B
    EXPECT_EQ(kAbort, misuses.lastEnd());
    EXPECT_EP(ncclInternalError, step.combine());
  }, 9);
}

TEST(EpCall, S211LlCombine) {
  withStep(one(true, NCCL_EP_LAYOUT_EXPERT_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, nullptr, &step.home, nullptr, rank.stream));
    EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &step.back, nullptr, nullptr, rank.stream));
    Tensor bad(ncclBfloat16, {4, 512}), half(ncclFloat16, {4, 512}), bytes(ncclUint8, {8, 8, 512}), flat(ncclBfloat16, {64, 512}), three(ncclBfloat16, {3, 512});
    bad->magic = 7;
    Tensor fewWeights(ncclFloat32, {3, 2}), ints(ncclInt32, {4, 2});
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = nullptr; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.scales = bad; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = bad; });
    step.combineAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.back.tokens = bytes; });
    step.combineAnswers(ncclInvalidUsage, kByCode, [&](Step& s) { s.combineConfig.pass_direction = NCCL_EP_BWD_PASS; });
    step.combineAnswers(ncclInternalError, NCCL4J_EMU_END_THROW, [&](Step& s) { s.home.topk_weights = nullptr; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.topk_weights = fewWeights; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.topk_weights = ints; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = flat; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = three; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = nullptr; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = half; });
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

// 2.11, the last paragraph: a row longer than max_token_bytes would overrun buffers.
TEST(EpCall, S211RowsAboveMaxTokenBytes) {
  for (const bool ll : {true, false}) {
    Case facts = one(ll, ll ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_FLAT);
    withStep(facts, [&](Rank&, ncclEpHandle_t, Step& step) {
      EXPECT_EP(ncclSuccess, step.dispatch());
      Tensor in(ncclFloat32, ll ? std::vector<size_t>{1, 8, 512} : std::vector<size_t>{32, 512}), out(ncclFloat32, {4, 512});
      step.combineAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, [&](Step& s) {
        s.back.tokens = in;
        s.home.tokens = out;
      });
    });
  }
}

// 5.3: warps are taken away until the kernel fits, at least two.
TEST(EpCall, S53SharedMemory) {
  const Option report("misuse", "report");
  const Case facts = one(true, NCCL_EP_LAYOUT_RANK_MAJOR);
  asThreads(1, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    EXPECT_EQ(0, ncclEpGroup_test_getLastLlCombineWarpsPerGroup(group));
    EXPECT_EQ(0, ncclEpGroup_test_getLastLlCombineWarpsPerGroup(nullptr));
    Handle handle(group, facts.layout, facts.topk);
    Step step(rank, handle, facts, 4);
    EXPECT_EP(ncclSuccess, step.update());
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
    const int most = ncclEpGroup_test_getLastLlCombineWarpsPerGroup(group);
    EXPECT_EQ(32, most);
    EXPECT_EP(ncclInvalidArgument, ncclEpGroup_test_setMaxDynamicSmem(nullptr, 1));
    EXPECT_EP(ncclInvalidArgument, ncclEpGroup_test_setMaxDynamicSmem(group, 0));
    EXPECT_EP(ncclSuccess, ncclEpGroup_test_setMaxDynamicSmem(group, 40000));
    EXPECT_EQ(0, ncclEpGroup_test_getLastLlCombineWarpsPerGroup(group));
    EXPECT_EP(ncclSuccess, step.combine());
    EXPECT_GT(most, ncclEpGroup_test_getLastLlCombineWarpsPerGroup(group));
    EXPECT_LE(2, ncclEpGroup_test_getLastLlCombineWarpsPerGroup(group));
    EXPECT_EP(ncclSuccess, ncclEpGroup_test_setMaxDynamicSmem(group, 100));
    EXPECT_EP(ncclInvalidArgument, step.combine());
    synchronize(rank);
  });
}

TEST(EpCall, S210HtFlat) {
  withStep(one(false, NCCL_EP_LAYOUT_FLAT), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    commonPrefix(step, handle, rank);
    Tensor bad(ncclFloat32, {4, 2});
    bad->magic = 3;
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = bad; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = bad; });
    Tensor three(ncclBfloat16, {3, 512}), odd(ncclBfloat16, {4, 12}), oddOut(ncclBfloat16, {32, 12}), wide(ncclBfloat16, {4, 520}), wideOut(ncclBfloat16, {32, 520});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = three; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = odd; s.outputs.tokens = oddOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = wide; s.outputs.tokens = wideOut; });
    Tensor line(ncclBfloat16, {32}), few(ncclBfloat16, {31, 512});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.tokens = line; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.tokens = few; });  // below M, whatever the count
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.inputs.topk_weights = nullptr; });
    Tensor wrong(ncclFloat32, {4, 3}), halves(ncclFloat16, {4, 2});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = wrong; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = halves; });
    Tensor noWeights(ncclFloat32, {0, 2});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = noWeights; });  // emptiness differs
    // After the collective: items 19 to 24.
    Tensor halfOut(ncclFloat16, {32, 2}), oneWeights(ncclFloat32, {32}), shortWeights(ncclFloat32, {31, 2}), ids32(ncclInt32, {32, 2});
    Tensor threeWeights(ncclFloat32, {3, 2}), threeIds(ncclInt64, {3, 2}), narrowOut(ncclBfloat16, {32, 256}), cubeOut(ncclBfloat16, {32, 512, 1});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.tokens = cubeOut; });
    step.dispatchAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, [&](Step& s) { s.outputs.tokens = narrowOut; });  // C27
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = nullptr; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_idx = nullptr; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = halfOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = oneWeights; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = ids32; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = shortWeights; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = threeWeights; s.outputs.topk_idx = threeIds; });
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

TEST(EpCall, S210HtExpertMajor) {
  withStep(one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR), [](Rank&, ncclEpHandle_t, Step& step) {
    Tensor ids(ncclInt64, {32, 2}), square(ncclFloat32, {32, 2}), few(ncclFloat32, {31});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_idx = ids; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = square; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = few; });  // no read-back: M rows
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

// A late error costs the failing rank its outputs and nobody else's.
TEST(EpCall, S210LateErrorLeavesPeersAlone) {
  const Option report("misuse", "report");
  const Option limit("wait_limit_ms", "20000");
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.ranks = 2;
  std::mt19937_64 random(91);
  const World world = randomWorld(facts, random);
  asThreads(2, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, facts, world.inputs[rank.rank].tokens);
    round.load(world);
    round.spoil();
    EXPECT_EP(ncclSuccess, round.update());
    synchronize(rank);
    if (rank.rank == 0) round.receivedWeights()->datatype = ncclFloat16;
    EXPECT_EP(rank.rank == 0 ? ncclInternalError : ncclSuccess, round.dispatch());
    synchronize(rank);
    if (rank.rank == 1) {
      round.checkDispatch(world);
      return;
    }
    for (const unsigned char byte : round.received().read<unsigned char>()) ASSERT_EQ(0x5a, byte);
  });
}

TEST(EpCall, S211HtCombine) {
  withStep(one(false, NCCL_EP_LAYOUT_FLAT), [](Rank&, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    Tensor cube(ncclBfloat16, {32, 512, 1}), odd(ncclBfloat16, {32, 12}), oddOut(ncclBfloat16, {4, 12}), weights(ncclFloat32, {32, 2});
    Tensor three(ncclBfloat16, {3, 512}), narrow(ncclBfloat16, {4, 256}), half(ncclFloat16, {4, 512});
    Tensor four(ncclFloat32, {32, 4}), fourOut(ncclFloat32, {4, 4}), few(ncclBfloat16, {1, 512});
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = cube; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = odd; s.home.tokens = oddOut; });
    step.combineAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.back.topk_weights = weights; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = nullptr; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = three; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = narrow; });
    step.combineAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, [&](Step& s) { s.home.tokens = half; });  // C25
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = four; s.home.tokens = fourOut; });  // H % 8
    // 1.6: an unknown direction is the forward one here.
    step.combineAnswers(ncclSuccess, kByCode, [&](Step& s) { s.combineConfig.pass_direction = static_cast<ncclEpPassDir_t>(5); });
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

// 2.10 items 3 and 16.
TEST(EpCall, S210HtDivisibility) {
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.experts = 6;
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) { step.dispatchAnswers(ncclInternalError, kAbort, [](Step&) {}); });
  facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.maxTokens = 6;
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) { step.dispatchAnswers(ncclInternalError, kAbort, [](Step&) {}); });
}

// 5.5.3: an eager dispatch takes outputs of exactly the count, and refuses fewer.
TEST(EpCall, S553EagerRows) {
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.maxReceive = 4;  // rows of the outputs: exactly as many as tokens
  const Option report("misuse", "report");
  asThreads(1, [&](Rank& rank) {
    ncclEpGroupConfig_t config = groupConfig(facts);
    config.max_recv_tokens_per_rank = 0;
    Group group(rank, config);
    Handle handle(group, facts.layout, facts.topk);
    Step step(rank, handle, facts, 4);
    EXPECT_EP(ncclSuccess, step.update());
    EXPECT_EP(ncclSuccess, step.dispatch());
    Tensor few(ncclBfloat16, {3, 512}), fewWeights(ncclFloat32, {3, 2}), fewIds(ncclInt64, {3, 2});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.tokens = few; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = fewWeights; s.outputs.topk_idx = fewIds; });
    // 5.5.4: nothing routed here: outputs without rows and data.
    step.topk.write(std::vector<int64_t>(8, -1));
    EXPECT_EP(ncclSuccess, step.update());
    auto none = Tensor::bare(ncclBfloat16, {0, 512}), noWeights = Tensor::bare(ncclFloat32, {0, 2}), noIds = Tensor::bare(ncclInt64, {0, 2});
    step.dispatchAnswers(ncclSuccess, kByCode, [&](Step& s) {
      s.outputs.tokens = *none;
      s.outputs.topk_weights = *noWeights;
      s.outputs.topk_idx = *noIds;
    });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.tokens = *none; });
    step.combineAnswers(ncclSuccess, kByCode, [&](Step& s) { s.back.tokens = *none; });
    synchronize(rank);
    for (const unsigned char byte : step.combined.read<unsigned char>()) ASSERT_EQ(0, byte);
  });
}

// C7: a combine whose input has fewer rows than slots are in use.
TEST(EpCall, C7TooFewCombineRows) {
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_FLAT, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
    const Option report("misuse", "report");
    const Case facts = one(false, layout);
    asThreads(1, [&](Rank& rank) {
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = groupConfig(facts);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t handle = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, layout, nullptr, facts.topk, nullptr));
      auto step = std::make_unique<Step>(rank, handle, facts, 4);
      auto few = std::make_unique<Tensor>(ncclBfloat16, std::vector<size_t>{3, 512});
      EXPECT_EP(ncclSuccess, step->update());
      step->back.tokens = *few;
      EXPECT_EP(ncclSuccess, step->combine());
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
      step.reset();
      few.reset();
      EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    });
  }
}

// 5.9: a peer is addressed with the sender's window and offset, so all ranks must use the same.
TEST(EpCall, S59WindowsMustMatch) {
  const Option report("misuse", "report");
  const Option limit("wait_limit_ms", "20000");
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.ranks = 2;
  asThreads(2, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, 1 << 20));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(rank.comm, memory, 1 << 20, &window, NCCL_WIN_COLL_SYMMETRIC));
    auto step = std::make_unique<Step>(rank, handle, facts, 4);
    auto out = Tensor::bare(ncclBfloat16, {32, 512});
    (*out)->win_hdl = window;
    (*out)->win_offset = rank.rank == 0 ? 0 : 4096;
    step->outputs.tokens = *out;
    EXPECT_EP(ncclSuccess, step->update());
    EXPECT_EP(ncclSuccess, step->dispatch());
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
    char text[1024];
    EXPECT_EQ(0, nccl4jEmuErrorText(rank.rank, text, sizeof text));
    EXPECT_NE(nullptr, std::strstr(text, "registration order or offset")) << text;
    step.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
  });
}

// 5.9: LL with zero copy needs an eligible window.
TEST(EpCall, S59LlZeroCopyOn) {
  const Option report("misuse", "report");
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_RANK_MAJOR, NCCL_EP_LAYOUT_EXPERT_MAJOR}) {
    const Case facts = one(true, layout);
    asThreads(1, [&](Rank& rank) {
      ncclEpGroupConfig_t config = groupConfig(facts);
      config.zero_copy = NCCL_EP_ZERO_COPY_ON;
      Group group(rank, config);
      Handle handle(group, layout, facts.topk);
      Step step(rank, handle, facts, 4);
      EXPECT_EP(ncclSuccess, step.update());
      step.dispatchAnswers(ncclInvalidArgument, kByCode, [](Step&) {});
      const std::vector<size_t> sizes = layout == NCCL_EP_LAYOUT_RANK_MAJOR ? std::vector<size_t>{1, 8, 512} : std::vector<size_t>{8, 8, 512};
      auto window = Tensor::windowed(rank.comm, ncclBfloat16, sizes, false);
      step.dispatchAnswers(layout == NCCL_EP_LAYOUT_RANK_MAJOR ? ncclSuccess : ncclInvalidArgument, kByCode,
                           [&](Step& s) { s.outputs.tokens = *window; });
      synchronize(rank);
    });
  }
}

// 1.6: recv_topk_idx_kind beyond GLOBAL traps when it runs.
TEST(EpCall, S16UnknownIdKindTraps) {
  const Option report("misuse", "report");
  for (const bool ll : {true, false}) {
    const Case facts = one(ll, ll ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_FLAT);
    asThreads(1, [&](Rank& rank) {
      ncclEpGroup_t group = nullptr;
      const ncclEpGroupConfig_t config = groupConfig(facts);
      ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
      ncclEpHandle_t handle = nullptr;
      ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
      auto step = std::make_unique<Step>(rank, handle, facts, 4);
      EXPECT_EP(ncclSuccess, step->update());
      step->info.recv_topk_idx_kind = static_cast<ncclEpExpertIdKind_t>(3);
      EXPECT_EP(ncclSuccess, step->dispatch());
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(rank.stream));
      step.reset();
      EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
      EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
      EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
      EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
    });
  }
}

// 3.10: limits that no early check names.
TEST(EpCall, S310ExpertsPerRank) {
  Case facts = one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.experts = 260;
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) { step.dispatchAnswers(ncclInternalError, kAbort, [](Step&) {}); });
  facts.experts = 256;
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) { EXPECT_EP(ncclSuccess, step.dispatch()); });
  // In dup modes a power of two, which Update asks for; FLAT handles do not care.
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  const Option report("misuse", "report");
  for (const ncclEpLayout_t layout : {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_FLAT}) {
    facts = one(false, layout);
    facts.experts = 12;
    asThreads(1, [&](Rank& rank) {
      Group group(rank, groupConfig(facts));
      Handle handle(group, facts.layout, facts.topk);
      Step step(rank, handle, facts, 4);
      const Misuses misuses;
      const bool refused = layout == NCCL_EP_LAYOUT_EXPERT_MAJOR;
      EXPECT_EP(refused ? ncclInternalError : ncclSuccess, step.update());
      EXPECT_EQ(refused ? static_cast<int>(kAbort) : kByCode, misuses.lastEnd());
      synchronize(rank);
    });
  }
}

TEST(EpCall, S310TopkOfExpertMajor) {
  Case facts = one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.experts = 64;
  facts.topk = 33;
  facts.maxReceive = 8 * 33;
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    step.combineAnswers(ncclInternalError, kAbort, [](Step&) {});
  });
}

// 5.1: LocalDup moves rows through shared memory, which limits them.
TEST(EpCall, S51LocalDupRows) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  Case facts = one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.hidden = 11608;  // 23,216 bytes: ten of them and 136 fit into 232,448
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
  });
  facts.hidden = 11616;  // 23,232 bytes do not
  withStep(facts, [](Rank&, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    step.combineAnswers(ncclInternalError, kAbort, [](Step&) {});
  });
}

// 2.12.
TEST(EpCall, S212Complete) {
  withStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step&) {
    auto config = made<ncclEpCompleteConfig_t>();
    EXPECT_EP(ncclSuccess, ncclEpComplete(handle, &config, rank.stream));
    EXPECT_EP(ncclSuccess, ncclEpComplete(handle, nullptr, nullptr));
    config.magic = 1;
    EXPECT_EP(ncclInvalidArgument, ncclEpComplete(handle, &config, rank.stream));
  });
}

// The call log shows decoded structs and why a call was refused.
TEST(EpCall, LogsDecodedStructs) {
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuCallLog(4096));
  withStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank&, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    step.dispatchAnswers(ncclInternalError, kAbort, [](Step& s) { s.outputs.topk_idx = nullptr; });
    std::vector<nccl4jEmuCall_t> calls(4096);
    calls.resize(nccl4jEmuCalls(1, calls.data(), calls.size()));
    bool good = false, bad = false;
    for (const nccl4jEmuCall_t& call : calls) {
      if (std::strcmp(call.function, "ncclEpDispatch") != 0) continue;
      good |= std::strstr(call.arguments, "inputs={tokens=bf16[4,512]@") != nullptr && call.result == ncclSuccess && call.rank == 0;
      bad |= std::strstr(call.arguments, "reason=outputs.topk_idx: NULL") != nullptr && call.result == ncclInternalError;
    }
    EXPECT_TRUE(good);
    EXPECT_TRUE(bad);
  });
}

// Two operations of a group that nothing orders.
TEST(EpCall, S47UnorderedOperations) {
  const Option report("misuse", "report");
  const Case facts = one(true, NCCL_EP_LAYOUT_RANK_MAJOR);
  asThreads(1, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto step = std::make_unique<Step>(rank, handle, facts, 4);
    EXPECT_EP(ncclSuccess, step->update());
    cudaStream_t other = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    EXPECT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_DELAY, 0, 1, 500));
    EXPECT_EP(ncclSuccess, step->dispatch());
    EXPECT_EP(ncclSuccess, ncclEpDispatch(handle, &step->inputs, &step->outputs, &step->info, nullptr, other));
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaDeviceSynchronize());
    step.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
  });
  EXPECT_EQ(0, nccl4jEmuClearFaults());
}

}  // namespace
}  // namespace ep_test
