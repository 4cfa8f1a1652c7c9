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

  void run(WorkContext& context) const;

 private:
  bool localDup() const { return plan.duplicates && plan.group->mode == ExpertMode::LocalDup; }
  size_t gradientColumns() const { return std::min(plan.topk, plan.shape().local()); }
  void checkAddresses(Execution& execution) const;
  void stage(HtExecution& execution) const;
  void stageFlat(Execution& execution, const Region& region) const;
  void stagePermuted(Execution& execution, const Region& region) const;
  void stageExperts(HtExecution& execution, const Region& region) const;
  void addUpGroups(HtExecution& execution, const Region& region, size_t rows) const;
  void reduce(const HtExecution& execution) const;
  size_t contributions(const HtExecution& execution, size_t token, const void** rows, size_t* ofTeam) const;
  size_t addUpTeams(HtState::Scratch& scratch) const;
  void returnGradients(HtExecution& execution) const;
};

}  // namespace emu::ep
