// LL dispatch.
#pragma once

#include "ep/dispatch_rows.h"
#include "ep/ll/operation.h"

namespace emu::ep {

struct LlDispatch : LlOperation, DispatchRows {
  size_t elements = 0;    // of an input row
  size_t inputBytes = 0;  // of an input row
  ncclEpDispQuant_t recipe = NCCL_EP_DISP_QUANT_NONE;
  bool roundScales = false;
  ncclEpExpertIdKind_t idKind = NCCL_EP_EXPERT_ID_LOCAL;

  int32_t* outIds = nullptr;
  int32_t* expertCounters = nullptr;
  int32_t* sourceCounters = nullptr;

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
};

}  // namespace emu::ep
