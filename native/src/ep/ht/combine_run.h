// The running part of HT combine.
#pragma once

#include "ep/ht/plan.h"

namespace emu::ep {

class HtExecution;

struct HtCombine {
  HtPlan plan;
  bool backward = false;
  ncclDataType_t type = ncclBfloat16;
  size_t elements = 0;      // H
  size_t rowBytes = 0;
  size_t inRows = 0;

  unsigned char* in = nullptr;          // written where LocalDup adds up in place
  const float* inWeights = nullptr;     // gradients
  unsigned char* out = nullptr;
  float* outWeights = nullptr;
  uint64_t tokensWindow = 0;

  cudaError_t run(WorkContext& context) const;

 private:
  bool localDup() const { return plan.duplicates && plan.group->mode == ExpertMode::LocalDup; }
  size_t gradientColumns() const { return std::min(plan.topk, plan.shape().local()); }
  cudaError_t checkAddresses(WorkContext& context) const;
  cudaError_t stage(WorkContext& context, HtExecution& execution) const;
  cudaError_t stageFlat(WorkContext& context, const Region& region) const;
  cudaError_t stagePermuted(WorkContext& context, const Region& region) const;
  cudaError_t stageExperts(WorkContext& context, HtExecution& execution, const Region& region) const;
  cudaError_t addUpGroups(WorkContext& context, HtExecution& execution, const Region& region, size_t rows) const;
  cudaError_t tooFewRows(WorkContext& context, size_t needed) const;
  void reduce(const HtExecution& execution) const;
  size_t contributions(const HtExecution& execution, size_t token, const void** rows, size_t* ofTeam) const;
  size_t addUpTeams(HtState::Scratch& scratch) const;
  cudaError_t returnGradients(WorkContext& context, HtExecution& execution) const;
};

}  // namespace emu::ep
