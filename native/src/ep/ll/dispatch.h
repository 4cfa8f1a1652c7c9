// LL dispatch.
#pragma once

#include "ep/ll/operation.h"
#include "ep/recipe.h"
#include "ep/rows.h"

namespace emu::ep {

struct LlDispatch : LlOperation {
  size_t elements = 0;    // of an input row
  size_t inputBytes = 0;  // of an input row
  size_t tokenBytes = 0;  // of a received row
  size_t scaleBytes = 0;
  ncclEpDispQuant_t recipe = NCCL_EP_DISP_QUANT_NONE;
  bool roundScales = false;
  ncclEpExpertIdKind_t idKind = NCCL_EP_EXPERT_ID_LOCAL;

  const unsigned char* in = nullptr;
  const float* inWeights = nullptr;
  const unsigned char* inScales = nullptr;
  unsigned char* out = nullptr;
  float* outWeights = nullptr;
  unsigned char* outScales = nullptr;
  int32_t* outIds = nullptr;
  int32_t* expertCounters = nullptr;
  int32_t* sourceCounters = nullptr;
  uint64_t tokensWindow = 0;
  uint64_t scalesWindow = 0;

 protected:
  void send(LlExecution& execution) const override;
  void receive(LlExecution& execution) const override;

 private:
  // About as many rows arrive as are sent out.
  RowCopier copier() const { return RowCopier(tokens * topk * (tokenBytes + scaleBytes), group->shape.ranks); }
  size_t zoneRows() const { return group->shape.ranks * group->shape.maxDispatch; }
  void checkSent(Execution& execution) const;
  void checkReceived(Execution& execution) const;
  void take(LlExecution& execution, int source, uint32_t count, const RowCopier& copier) const;
  void stageRow(unsigned char* to, size_t token, const RowCopier& copier) const;
  void takeExpertRows(Execution& execution, const SendBuffer& from, uint32_t token, int32_t* slots,
                      const RowCopier& copier) const;
  void takeRankRow(const SendBuffer& from, uint32_t token, size_t row, int32_t* slots, const RowCopier& copier) const;
  void copyRow(const SendBuffer& from, uint32_t token, size_t row, const RowCopier& copier) const;
};

}  // namespace emu::ep
