// 5.4, 5.10: the backward pass of HT.
#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

Case backwardCase(Mode mode, ncclEpLayout_t layout) {
  Case facts;
  facts.ll = false;
  facts.mode = mode;
  facts.layout = layout;
  facts.ranks = 4;
  facts.experts = 16;
  facts.topk = 4;
  facts.maxTokens = 8;
  facts.hidden = 32;
  facts.alignment = layout == NCCL_EP_LAYOUT_EXPERT_MAJOR ? 4 : 1;
  facts.maxReceive = 4 * 8 * 4 + 16;
  return facts;
}

void runBackward(const Case& facts, bool duplicates, uint64_t seed) {
  std::mt19937_64 random(seed);
  World world = randomWorld(facts, random, duplicates);
  world.unweighted = true;
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    RoundOptions options;
    options.backward = true;
    Round round(rank, handle, world, options);
    round.load(world);
    round.spoil();
    round.all();
    synchronize(rank);
    round.check(world);
  });
}

TEST(EpBackward, S54Flat) { runBackward(backwardCase(Mode::Permute, NCCL_EP_LAYOUT_FLAT), false, 61); }
TEST(EpBackward, S54Permute) { runBackward(backwardCase(Mode::Permute, NCCL_EP_LAYOUT_EXPERT_MAJOR), false, 62); }
TEST(EpBackward, C3DuplicatesGetTheSameGradient) {
  runBackward(backwardCase(Mode::Permute, NCCL_EP_LAYOUT_FLAT), true, 63);
  runBackward(backwardCase(Mode::Permute, NCCL_EP_LAYOUT_EXPERT_MAJOR), true, 64);
}
TEST(EpBackward, S54LocalDup) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  runBackward(backwardCase(Mode::LocalDup, NCCL_EP_LAYOUT_EXPERT_MAJOR), false, 65);
}
TEST(EpBackward, S54NvlinkDup) {
  const EnvironmentVariable variable("NCCL_EP_HT_EM_NVLINK_DUP", "1");
  runBackward(backwardCase(Mode::NvlinkDup, NCCL_EP_LAYOUT_EXPERT_MAJOR), true, 66);
}

// What is forbidden in which direction.
TEST(EpBackward, S54Refusals) {
  const Option report("misuse", "report");
  const Case facts = [] {
    Case one = backwardCase(Mode::Permute, NCCL_EP_LAYOUT_FLAT);
    one.ranks = 1;
    return one;
  }();
  asThreads(1, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Tensor topk(ncclInt64, {4, 4}), in(facts.type, {4, 32}), weights(ncclFloat32, {4, 4});
    Tensor received(facts.type, {facts.maxReceive, 32}), many(ncclFloat32, {facts.maxReceive, 4}),
        ids(ncclInt64, {facts.maxReceive, 4});
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));
    auto config = made<ncclEpDispatchConfig_t>();
    config.pass_direction = NCCL_EP_BWD_PASS;
    for (int which = 0; which < 3; ++which) {
      auto inputs = made<ncclEpDispatchInputs_t>();
      auto outputs = made<ncclEpDispatchOutputs_t>();
      inputs.tokens = in;
      outputs.tokens = received;
      if (which == 0) inputs.topk_weights = weights;
      if (which == 1) outputs.topk_weights = many;
      if (which == 2) outputs.topk_idx = ids;
      EXPECT_EP(ncclInvalidArgument, ncclEpDispatch(handle, &inputs, &outputs, nullptr, &config, rank.stream));
    }
    auto inputs = made<ncclEpCombineInputs_t>();
    auto outputs = made<ncclEpCombineOutputs_t>();
    auto back = made<ncclEpCombineConfig_t>();
    Tensor out(facts.type, {4, 32});
    inputs.tokens = received;
    outputs.tokens = out;
    back.pass_direction = NCCL_EP_BWD_PASS;
    EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &inputs, &outputs, &back, rank.stream));  // no input gradients
    inputs.topk_weights = many;
    EXPECT_EP(ncclInvalidArgument,
              ncclEpCombine(handle, &inputs, &outputs, &back, rank.stream));  // no output gradients
    EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &inputs, &outputs, nullptr, rank.stream));  // forward has none
    outputs.topk_weights = weights;
    const Misuses misuses;
    Tensor tooMany(facts.type, {facts.maxReceive + 1, 32}), asMany(ncclFloat32, {facts.maxReceive + 1, 4});
    inputs.tokens = tooMany;
    inputs.topk_weights = asMany;
    EXPECT_EP(ncclInternalError, ncclEpCombine(handle, &inputs, &outputs, &back, rank.stream));  // C6
    EXPECT_EQ(NCCL4J_EMU_END_UNDEFINED, misuses.lastEnd());
    synchronize(rank);
  });
}

}  // namespace
}  // namespace ep_test
