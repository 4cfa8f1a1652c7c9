#include "ep_step.h"

namespace ep_test {

Step::Step(const Rank& rank, ncclEpHandle_t handle, const Case& facts, size_t count)
    : rank_(rank),
      handle_(handle),
      tokens(count),
      budget(facts.maxReceive),
      hidden(facts.hidden),
      k(static_cast<size_t>(facts.topk)),
      topk(ncclInt64, {count, k}),
      weights(ncclFloat32, {count, k}),
      in(facts.type, {count, hidden}),
      out(facts.type, facts.ll ? (facts.expertMajor()
                                      ? Sizes{static_cast<size_t>(facts.local()), facts.ranks * facts.maxTokens, hidden}
                                      : Sizes{static_cast<size_t>(facts.ranks), facts.maxTokens, hidden})
                               : Sizes{budget, hidden}),
      outWeights(ncclFloat32, facts.ll              ? Sizes{static_cast<size_t>(facts.ranks), facts.maxTokens, k}
                              : facts.expertMajor() ? Sizes{budget}
                                                    : Sizes{budget, k}),
      outIds(facts.ll ? ncclInt32 : ncclInt64,
             facts.ll ? Sizes{static_cast<size_t>(facts.ranks), facts.maxTokens, k} : Sizes{budget, k}),
      counters(ncclInt32, {static_cast<size_t>(facts.expertMajor() ? facts.local() : facts.ranks)}),
      combined(facts.type, {count, hidden}) {
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

void Step::dispatchAnswers(ncclResult_t code, int end, const std::function<void(Step&)>& bend) {
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

void Step::combineAnswers(ncclResult_t code, int end, const std::function<void(Step&)>& bend) {
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

Case one(bool ll, ncclEpLayout_t layout) {
  Case facts;
  facts.ll = ll;
  facts.layout = layout;
  facts.ranks = 1;
  facts.maxTokens = 8;
  if (!ll) facts.maxReceive = 32;
  return facts;
}

void withStep(const Case& facts, const std::function<void(Rank&, ncclEpHandle_t, Step&)>& body, size_t tokens) {
  const Option report("misuse", "report");
  nccl_test::asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    Step step(rank, handle, facts, tokens);
    EXPECT_EP(ncclSuccess, step.update());
    body(rank, handle, step);
    synchronize(rank);
  });
}

void withFailingStep(const Case& facts, const std::function<void(Rank&, ncclEpHandle_t, Step&)>& body) {
  const Option report("misuse", "report"), limit("wait_limit_ms", "20000");
  nccl_test::asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroup_t group = nullptr;
    const ncclEpGroupConfig_t config = groupConfig(facts);
    ASSERT_EP(ncclSuccess, ncclEpCreateGroup(&group, rank.comm, &config));
    ncclEpHandle_t handle = nullptr;
    ASSERT_EP(ncclSuccess, ncclEpInitHandle(&handle, group, facts.layout, nullptr, facts.topk, nullptr));
    auto step = std::make_unique<Step>(rank, handle, facts, 4);
    EXPECT_EP(ncclSuccess, step->update());
    body(rank, handle, *step);
    step.reset();
    EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
    EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle));
    EXPECT_CUDA(cudaSuccess, cudaStreamCreate(&rank.stream));
    EXPECT_EP(ncclInternalError, ncclEpGroupDestroy(group));
  });
}

void checkCommonPrefix(Step& step, ncclEpHandle_t handle, const Rank& rank) {
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

}  // namespace ep_test
