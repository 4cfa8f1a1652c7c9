// One rank's dispatch and combine with every field for tests to bend.
#pragma once

#include "ep_round.h"

namespace ep_test {

constexpr int kByCode = -1;  // no misuse was recorded
constexpr int kAbort = NCCL4J_EMU_END_ABORT;

// Everything that a dispatch and a combine of one rank need, for tests to bend.
class Step {
 public:
  Step(const Rank& rank, ncclEpHandle_t handle, const Case& facts, size_t count);

  ncclResult_t update() { return ncclEpUpdateHandle(handle_, topk, nullptr, rank_.stream); }
  ncclResult_t dispatch() { return ncclEpDispatch(handle_, &inputs, &outputs, &info, &config, rank_.stream); }
  ncclResult_t combine() { return ncclEpCombine(handle_, &back, &home, &combineConfig, rank_.stream); }

  // The answer when something is bent, and how the real library would have ended.
  void dispatchAnswers(ncclResult_t code, int end, const std::function<void(Step&)>& bend);
  void combineAnswers(ncclResult_t code, int end, const std::function<void(Step&)>& bend);

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

Case one(bool ll, ncclEpLayout_t layout);  // for a single rank

// All in report mode, with an update done.
void withStep(const Case& facts, const std::function<void(Rank&, ncclEpHandle_t, Step&)>& body, size_t tokens = 4);
// The same where the body fails its device: what is left is abandoned, and the device reset.
void withFailingStep(const Case& facts, const std::function<void(Rank&, ncclEpHandle_t, Step&)>& body);

// 2.10, the common prefix; shared by all layouts.
void checkCommonPrefix(Step& step, ncclEpHandle_t handle, const Rank& rank);

}  // namespace ep_test
