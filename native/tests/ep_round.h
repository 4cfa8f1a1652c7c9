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
  std::vector<bool> dead;     // ranks that do not take part
};

class Round {
 public:
  // Tensors for the world's number of tokens; collective with windows.
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
  Tensor& counters() { return *counters_; }
  Tensor& routing() { return *routing_; }

 private:
  static void runExperts(void* self);
  void expertRow(size_t row, int64_t expert, float weight, bool weighted);
  void sumRow(size_t row, const std::vector<int64_t>& experts, const std::vector<float>& weights);
  int64_t receivedId(size_t index) const;
  bool sameRow(const unsigned char* bytes, const World& world, const Arrival& arrival) const;
  void checkLlExpertMajor(const World& world);
  void checkLlRankMajor(const World& world);
  void checkHtFlat(const World& world);
  void checkHtExpertMajor(const World& world);
  bool isSpoiled(Tensor& tensor, size_t fromByte, size_t bytes) const;
  size_t rowBytes() const { return facts_.hidden * bytesOf(facts_.type); }

  const Rank rank_;
  const ncclEpHandle_t handle_;
  const Case facts_;
  const size_t tokens_;
  const RoundOptions options_;

  std::unique_ptr<Tensor> routing_, weights_, in_;
  std::unique_ptr<Tensor> received_, receivedWeights_, receivedIds_;
  std::unique_ptr<Tensor> returned_, combined_;
  std::unique_ptr<Tensor> counters_, offsets_, total_;  // counters: per expert, or per source rank
};

}  // namespace ep_test
