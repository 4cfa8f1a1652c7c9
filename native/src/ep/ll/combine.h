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
  cudaError_t send(WorkContext& context, LlExecution& execution) const override;
  cudaError_t receive(WorkContext& context, LlExecution& execution) const override;

 private:
  size_t inputRows() const;
  size_t stagedBytes() const;
  void stageRow(unsigned char* to, size_t row, const RowCopier& copier) const;
  cudaError_t note(WorkContext& context, const LlExecution& execution, int source, uint32_t count,
                   const int32_t* ids) const;
  cudaError_t reduce(WorkContext& context, const int32_t* ids) const;
  cudaError_t missing(WorkContext& context, size_t token, int32_t expert) const;
};

}  // namespace emu::ep
