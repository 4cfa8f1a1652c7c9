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

// The gradient of (token, expert), the same wherever it is asked for.
float gradientOf(int source, size_t token, int64_t expert) {
  return static_cast<float>(source * 1000 + static_cast<int>(token) * 20) + 0.0625f * static_cast<float>(expert + 1);
}

void runBackward(const Case& facts, bool duplicates, uint64_t seed) {
  std::mt19937_64 random(seed);
  const World world = randomWorld(facts, random, duplicates);
  asThreads(facts.ranks, [&](Rank& rank) {
    const Input& input = world.inputs[rank.rank];
    const auto k = static_cast<size_t>(facts.topk);
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    Tensor topk(ncclInt64, {input.tokens, k}), in(facts.type, {input.tokens, facts.hidden});
    topk.write(input.ids);
    for (size_t i = 0; i < input.rows.size(); ++i) encode(facts.type, input.rows[i], in.raw<unsigned char>() + i * 2);
    EXPECT_EP(ncclSuccess, ncclEpUpdateHandle(handle, topk, nullptr, rank.stream));

    // Backward dispatch: rows without weights and ids, padding zeroed.
    Tensor received(facts.type, {facts.maxReceive, facts.hidden});
    auto inputs = made<ncclEpDispatchInputs_t>();
    auto outputs = made<ncclEpDispatchOutputs_t>();
    auto config = made<ncclEpDispatchConfig_t>();
    config.pass_direction = NCCL_EP_BWD_PASS;
    inputs.tokens = in;
    outputs.tokens = received;
    received.fill(0x5a);
    EXPECT_EP(ncclSuccess, ncclEpDispatch(handle, &inputs, &outputs, nullptr, &config, rank.stream));
    synchronize(rank);
    const HtLayout layout = htLayout(world, rank.rank);
    std::vector<std::optional<Arrival>> rows;
    if (facts.expertMajor()) {
      rows = layout.rows;
    } else {
      rows.assign(layout.flat.begin(), layout.flat.end());
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t h = 0; h < facts.hidden; ++h) {
        const float expected = rows[i] ? world.x(rows[i]->source, rows[i]->token, h) : 0.0f;
        ASSERT_EQ(expected, decode(facts.type, received.raw<unsigned char>() + (i * facts.hidden + h) * 2)) << facts.describe();
      }
    }

    // Backward combine: rows summed, gradients to the positions that name the expert.
    Tensor gradients(ncclFloat32, facts.expertMajor() ? std::vector<size_t>{facts.maxReceive} : std::vector<size_t>{facts.maxReceive, k});
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i]) continue;
      for (size_t j = 0; j < rows[i]->experts.size(); ++j) {
        gradients.raw<float>()[facts.expertMajor() ? i : i * k + j] = gradientOf(rows[i]->source, rows[i]->token, rows[i]->experts[j]);
      }
    }
    Tensor out(facts.type, {input.tokens, facts.hidden}), outWeights(ncclFloat32, {input.tokens, k});
    out.fill(0x5a);
    outWeights.fill(0x5a);
    auto combineInputs = made<ncclEpCombineInputs_t>();
    auto combineOutputs = made<ncclEpCombineOutputs_t>();
    auto combineConfig = made<ncclEpCombineConfig_t>();
    combineConfig.pass_direction = NCCL_EP_BWD_PASS;
    combineInputs.tokens = received;
    combineInputs.topk_weights = gradients;
    combineOutputs.tokens = out;
    combineOutputs.topk_weights = outWeights;
    EXPECT_EP(ncclSuccess, ncclEpCombine(handle, &combineInputs, &combineOutputs, &combineConfig, rank.stream));
    synchronize(rank);
    for (size_t t = 0; t < input.tokens; ++t) {
      for (size_t j = 0; j < k; ++j) {
        const int64_t id = world.id(rank.rank, t, j);
        const float expected = id < 0 ? 0.0f : gradientOf(rank.rank, t, id);
        ASSERT_EQ(expected, outWeights.raw<float>()[t * k + j]) << facts.describe() << " token " << t << " position " << j;
      }
    }
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
    Tensor received(facts.type, {facts.maxReceive, 32}), many(ncclFloat32, {facts.maxReceive, 4}), ids(ncclInt64, {facts.maxReceive, 4});
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
    EXPECT_EP(ncclInvalidArgument, ncclEpCombine(handle, &inputs, &outputs, &back, rank.stream));  // no output gradients
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
