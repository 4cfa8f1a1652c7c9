// 2.10, 2.11 for HT: what dispatch and combine check, in which order, with which answer.
#include "ep_step.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

TEST(EpCallHt, S210Flat) {
  withStep(one(false, NCCL_EP_LAYOUT_FLAT), [](Rank& rank, ncclEpHandle_t handle, Step& step) {
    checkCommonPrefix(step, handle, rank);
    Tensor bad(ncclFloat32, {4, 2});
    bad->magic = 3;
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = bad; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = bad; });
    Tensor three(ncclBfloat16, {3, 512}), odd(ncclBfloat16, {4, 12}), oddOut(ncclBfloat16, {32, 12}),
        wide(ncclBfloat16, {4, 520}), wideOut(ncclBfloat16, {32, 520});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = three; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.tokens = odd; s.outputs.tokens = oddOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) {
      s.inputs.tokens = wide;
      s.outputs.tokens = wideOut;
    });
    Tensor line(ncclBfloat16, {32}), few(ncclBfloat16, {31, 512});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.tokens = line; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode,
                         [&](Step& s) { s.outputs.tokens = few; });  // below M, whatever the count
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.inputs.topk_weights = nullptr; });
    Tensor wrong(ncclFloat32, {4, 3}), halves(ncclFloat16, {4, 2});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = wrong; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.inputs.topk_weights = halves; });
    Tensor noWeights(ncclFloat32, {0, 2});
    step.dispatchAnswers(ncclInvalidArgument, kByCode,
                         [&](Step& s) { s.outputs.topk_weights = noWeights; });  // emptiness differs
    // After the collective: items 19 to 24.
    Tensor halfOut(ncclFloat16, {32, 2}), oneWeights(ncclFloat32, {32}), shortWeights(ncclFloat32, {31, 2}),
        ids32(ncclInt32, {32, 2});
    Tensor threeWeights(ncclFloat32, {3, 2}), threeIds(ncclInt64, {3, 2}), narrowOut(ncclBfloat16, {32, 256}),
        cubeOut(ncclBfloat16, {32, 512, 1});
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.tokens = cubeOut; });
    step.dispatchAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED,
                         [&](Step& s) { s.outputs.tokens = narrowOut; });  // C27
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = nullptr; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_idx = nullptr; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = halfOut; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = oneWeights; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_idx = ids32; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_weights = shortWeights; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) {
      s.outputs.topk_weights = threeWeights;
      s.outputs.topk_idx = threeIds;
    });
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

TEST(EpCallHt, S210ExpertMajor) {
  withStep(one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR), [](Rank&, ncclEpHandle_t, Step& step) {
    Tensor ids(ncclInt64, {32, 2}), square(ncclFloat32, {32, 2}), few(ncclFloat32, {31});
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.outputs.topk_idx = ids; });
    step.dispatchAnswers(ncclInternalError, kAbort, [&](Step& s) { s.outputs.topk_weights = square; });
    step.dispatchAnswers(ncclInvalidArgument, kByCode,
                         [&](Step& s) { s.outputs.topk_weights = few; });  // no read-back: M rows
    EXPECT_EP(ncclSuccess, step.dispatch());
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

// A late error costs the failing rank its outputs and nobody else's.
TEST(EpCallHt, S210LateErrorLeavesPeersAlone) {
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

TEST(EpCallHt, S211Combine) {
  withStep(one(false, NCCL_EP_LAYOUT_FLAT), [](Rank&, ncclEpHandle_t, Step& step) {
    EXPECT_EP(ncclSuccess, step.dispatch());
    Tensor cube(ncclBfloat16, {32, 512, 1}), odd(ncclBfloat16, {32, 12}), oddOut(ncclBfloat16, {4, 12}),
        weights(ncclFloat32, {32, 2});
    Tensor three(ncclBfloat16, {3, 512}), narrow(ncclBfloat16, {4, 256}), half(ncclFloat16, {4, 512});
    Tensor four(ncclFloat32, {32, 4}), fourOut(ncclFloat32, {4, 4}), few(ncclBfloat16, {1, 512});
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = cube; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.back.tokens = odd; s.home.tokens = oddOut; });
    step.combineAnswers(ncclInvalidArgument, kByCode, [&](Step& s) { s.back.topk_weights = weights; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = nullptr; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = three; });
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) { s.home.tokens = narrow; });
    step.combineAnswers(ncclInternalError, NCCL4J_EMU_END_UNDEFINED, [&](Step& s) { s.home.tokens = half; });  // C25
    step.combineAnswers(ncclInternalError, kAbort, [&](Step& s) {
      s.back.tokens = four;
      s.home.tokens = fourOut;
    });  // H % 8
    // 1.6: an unknown direction is the forward one here.
    step.combineAnswers(ncclSuccess, kByCode,
                        [&](Step& s) { s.combineConfig.pass_direction = static_cast<ncclEpPassDir_t>(5); });
    EXPECT_EP(ncclSuccess, step.combine());
  });
}

// 2.10 items 3 and 16.
TEST(EpCallHt, S210Divisibility) {
  Case facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.experts = 6;
  withStep(facts,
           [](Rank&, ncclEpHandle_t, Step& step) { step.dispatchAnswers(ncclInternalError, kAbort, [](Step&) {}); });
  facts = one(false, NCCL_EP_LAYOUT_FLAT);
  facts.maxTokens = 6;
  withStep(facts,
           [](Rank&, ncclEpHandle_t, Step& step) { step.dispatchAnswers(ncclInternalError, kAbort, [](Step&) {}); });
}

// 5.5.3: an eager dispatch takes outputs of exactly the count, and refuses fewer.
TEST(EpCallHt, S553EagerRows) {
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
    step.dispatchAnswers(ncclInvalidArgument, kByCode, [&](Step& s) {
      s.outputs.topk_weights = fewWeights;
      s.outputs.topk_idx = fewIds;
    });
    // 5.5.4: nothing routed here: outputs without rows and data.
    step.topk.write(std::vector<int64_t>(8, -1));
    EXPECT_EP(ncclSuccess, step.update());
    auto none = Tensor::bare(ncclBfloat16, {0, 512}), noWeights = Tensor::bare(ncclFloat32, {0, 2}),
         noIds = Tensor::bare(ncclInt64, {0, 2});
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

// 3.10: limits that no early check names.
TEST(EpCallHt, S310ExpertsPerRank) {
  Case facts = one(false, NCCL_EP_LAYOUT_EXPERT_MAJOR);
  facts.experts = 260;
  withStep(facts,
           [](Rank&, ncclEpHandle_t, Step& step) { step.dispatchAnswers(ncclInternalError, kAbort, [](Step&) {}); });
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
      EXPECT_EQ(refused ? kAbort : kByCode, misuses.lastEnd());
      synchronize(rank);
    });
  }
}

TEST(EpCallHt, S310TopkOfExpertMajor) {
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
TEST(EpCallHt, S51LocalDupRows) {
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

// C4: HT knows no recipe of combine; it checks what the recipe demands, and then combines plainly.
TEST(EpCallHt, C4Nvfp4IsAPlainCombine) {
  for (const bool capable : {false, true}) {
    const Option capability("compute_capability", capable ? "100" : "90");
    withStep(one(false, NCCL_EP_LAYOUT_FLAT), [&](Rank& rank, ncclEpHandle_t, Step& step) {
      Tensor scales(ncclFloat32, {1, 32, 1}), plain(ncclBfloat16, {4, 512});
      step.in.write(std::vector<uint16_t>(4 * 512, 0x3fa0));
      EXPECT_EP(ncclSuccess, step.dispatch());
      EXPECT_EP(ncclSuccess, step.combine());
      step.combineAnswers(capable ? ncclSuccess : ncclInvalidUsage, kByCode, [&](Step& s) {
        s.back.scales = scales;
        s.home.tokens = plain;
        s.combineConfig.quant_recipe = NCCL_EP_COMB_QUANT_NVFP4;
      });
      synchronize(rank);
      if (!capable) return;
      EXPECT_EQ(0x3fa0, plain.read<uint16_t>()[0]);
      EXPECT_EQ(step.combined.read<uint16_t>(), plain.read<uint16_t>());
    });
  }
}

}  // namespace
}  // namespace ep_test
