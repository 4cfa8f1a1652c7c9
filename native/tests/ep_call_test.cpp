// 2.10-2.12 for LL: what dispatch, combine and complete check, in which order, with which answer.
#include "ep/introspection.h"
#include "ep_step.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

TEST(EpCall, S210LlExpertMajor) {
  withStep(one(true, NCCL_EP_LAYOUT_EXPERT_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    checkCommonPrefix(step, handle, rank);
    Tensor three(ncclBfloat16, {3, 512}), odd(ncclBfloat16, {4, 24}), wide(ncclBfloat16, {4, 528}),
        oddOut(ncclBfloat16, {8, 8, 24});
    Tensor wrongOut(ncclBfloat16, {8, 4, 512}), wideOut(ncclBfloat16, {8, 8, 528}), weights(ncclFloat32, {4, 2}),
        ids(ncclInt32, {1, 8, 2});
    Tensor seven(ncclInt32, {7}), longs(ncclInt64, {8});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = three; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = odd; s.outputs.tokens = oddOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) {
      s.inputs.tokens = wide;
      s.outputs.tokens = wideOut;
    });  // above max_token_bytes
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
  for (const auto& [type, hidden, good] : {std::tuple{ncclBfloat16, 256, true},
                                           {ncclBfloat16, 128, false},
                                           {ncclFloat32, 128, true},
                                           {ncclFloat32, 64, false}}) {
    Case facts = one(true, NCCL_EP_LAYOUT_RANK_MAJOR);
    facts.type = type;
    facts.hidden = static_cast<size_t>(hidden);
    const ncclResult_t expected = good ? ncclSuccess : ncclInternalError;
    withStep(facts, [&](Rank&, ncclEpHandle_t, Step& step) {
      EXPECT_EP(expected, step.dispatch());
      // Combine takes multiples of 512 for every type; anything that is no multiple of 128 aborts before.
      const Misuses misuses;
      EXPECT_EP(ncclInternalError, step.combine());
      EXPECT_EQ(step.hidden % 128 == 0 ? kByCode : kAbort, misuses.lastEnd());
    });
  }
}

TEST(EpCall, S210LlRankMajor) {
  withStep(one(true, NCCL_EP_LAYOUT_RANK_MAJOR), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    checkCommonPrefix(step, handle, rank);
    Tensor wrongWeights(ncclFloat32, {4, 3}), halves(ncclFloat16, {4, 2}), wrongOut(ncclBfloat16, {1, 7, 512}),
        longIds(ncclInt64, {1, 8, 2});
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
    Tensor bad(ncclBfloat16, {4, 512}), half(ncclFloat16, {4, 512}), bytes(ncclUint8, {8, 8, 512}),
        flat(ncclBfloat16, {64, 512}), three(ncclBfloat16, {3, 512});
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
      Tensor in(ncclFloat32, ll ? std::vector<size_t>{1, 8, 512} : std::vector<size_t>{32, 512}),
          out(ncclFloat32, {4, 512});
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
      const std::vector<size_t> sizes =
          layout == NCCL_EP_LAYOUT_RANK_MAJOR ? std::vector<size_t>{1, 8, 512} : std::vector<size_t>{8, 8, 512};
      auto window = Tensor::windowed(rank.comm, ncclBfloat16, sizes, false);
      step.dispatchAnswers(layout == NCCL_EP_LAYOUT_RANK_MAJOR ? ncclSuccess : ncclInvalidArgument, kByCode,
                           [&](Step& s) { s.outputs.tokens = *window; });
      synchronize(rank);
    });
  }
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
      good |= std::strstr(call.arguments, "inputs={tokens=bf16[4,512]@") != nullptr && call.result == ncclSuccess &&
              call.rank == 0;
      bad |=
          std::strstr(call.arguments, "reason=outputs.topk_idx: NULL") != nullptr && call.result == ncclInternalError;
    }
    EXPECT_TRUE(good);
    EXPECT_TRUE(bad);
  });
}

}  // namespace
}  // namespace ep_test
