// LL combine.
#pragma once

#include "ep/ll/operation.h"
#include "ep/recipe.h"
#include "ep/rows.h"

namespace emu::ep {

struct LlCombine : LlOperation {
  bool fp4 = false;       // rows travel as NVFP4
  size_t elements = 0;    // H
  ncclDataType_t type = ncclBfloat16;
  size_t rowBytes = 0;

  const unsigned char* in = nullptr;
  const float* inScales = nullptr;
  const float* weights = nullptr;
  unsigned char* out = nullptr;

 protected:
  void send(LlExecution& execution) const override;
  void receive(LlExecution& execution) const override;

 private:
  size_t inputRows() const;
  size_t stagedBytes() const;
  void stageRow(unsigned char* to, size_t row, const RowCopier& copier) const;
  void note(LlExecution& execution, int source, uint32_t count, const int32_t* ids) const;
  void reduce(Execution& execution, const int32_t* ids) const;
};

}  // namespace emu::ep
