// One rank's share of a step (update, dispatch, experts, combine) on random inputs, checked against the reference.
#pragma once

#include <memory>

#include "ep_reference.h"
#include "ep_support.h"

namespace ep_test {

ncclEpGroupConfig_t groupConfig(const Case& facts);

struct RoundOptions {
  bool window = false;        // outputs of dispatch and inputs of combine in windows
  bool anyOrder = false;      // LL rows may come in any order
  bool captured = false;      // the dispatch was recorded: decides which rows it writes
  bool backward = false;      // HT: no weights and ids on the way, gradients of weights on the way home
  bool byLayout = false;      // HT: experts take weights from the reference, since either of two may have survived (C3)
  bool exactRows = false;     // HT without a budget: outputs for just the rows that arrive
  size_t extraRows = 0;       // HT: outputs with that many rows more than needed
  std::vector<bool> dead;     // ranks that do not take part
};

class Round {
 public:
  // Tensors for the world's number of tokens; collective with windows. The world must outlive the steps that it is
  // loaded for.
  Round(const Rank& rank, ncclEpHandle_t handle, const World& world, const RoundOptions& options = {});
  Round(const Rank& rank, ncclEpHandle_t handle, const Case& facts, size_t tokens, const RoundOptions& options = {});

  void load(const World& world);   // this rank's inputs into the tensors
  void spoil();                    // fills the outputs with a pattern

  // Each enqueues on the rank's stream and returns the library's answer.
  ncclResult_t update();
  ncclResult_t dispatch(bool sendOnly = false);
  void experts();                  // a host function that stands for the expert kernels
  ncclResult_t combine(bool sendOnly = false);
  ncclResult_t complete();
  void all();                      // update, dispatch, experts, combine

  // After a synchronisation.
  void check(const World& world);
  void checkDispatch(const World& world);
  void checkCombine(const World& world);

  Tensor& received() { return *received_; }
  Tensor& receivedWeights() { return *receivedWeights_; }
  Tensor& returned() { return *returned_; }
  Tensor& combined() { return *combined_; }
  Tensor& receivedIds() { return *receivedIds_; }
  Tensor& counters() { return *counters_; }
  Tensor& offsets() { return *offsets_; }
  Tensor& total() { return *total_; }
  Tensor& routing() { return *routing_; }

 private:
  void makeLowLatency();
  void makeHighThroughput(size_t rows);
  static void runExperts(void* self);
  void runByLayout();
  void runLowLatency();
  void runHighThroughput();
  void expertRow(size_t row, int64_t expert, float weight, bool weighted);
  void sumRow(size_t row, const std::vector<int64_t>& experts, const std::vector<float>& weights);
  void sumReceived(size_t row);
  int64_t receivedId(size_t index) const;
  HtLayout layoutOf(const World& world) const;

  bool sameRow(size_t row, const World& world, const Arrival& arrival) const;
  bool isSpoiled(const Tensor& tensor, size_t fromByte, size_t bytes) const;
  bool isZero(const Tensor& tensor, size_t fromByte, size_t bytes) const;
  void expectRowsSpoiled(size_t from, size_t count) const;
  void checkLlExpertMajor(const World& world);
  void checkLlRankMajor(const World& world);
  void checkHtFlat(const World& world);
  void checkHtExpertMajor(const World& world);
  void checkBehind(size_t rows, size_t metaColumns);

  const Rank rank_;
  const ncclEpHandle_t handle_;
  const Case facts_;
  const size_t tokens_;
  const RoundOptions options_;
  const World* world_ = nullptr;

  std::unique_ptr<Tensor> routing_, weights_, in_, inScales_;
  std::unique_ptr<Tensor> received_, receivedScales_, receivedWeights_, receivedIds_;
  std::unique_ptr<Tensor> returned_, gradients_, combined_, combinedGradients_;
  std::unique_ptr<Tensor> counters_, offsets_, total_;  // counters: per expert, or per source rank
};

// An element of counters, offsets or totals of either width.
int64_t integerAt(const Tensor& tensor, size_t index);
// The gradient of (token, expert), the same wherever it is asked for.
float gradientOf(int source, size_t token, int64_t expert);

constexpr int kSpoilt = 0x5a;

}  // namespace ep_test
