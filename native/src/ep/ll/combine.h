// LL combine.
#pragma once

#include "cuda/work.h"
#include "ep/ll/epoch.h"
#include "ep/recipe.h"
#include "ep/rows.h"

namespace emu::ep {

ncclResult_t combineLl(Call& call, const std::shared_ptr<Handle>& handle, CombineArguments& arguments, cudaStream_t stream);

// Everything that a combine fixes at its call.
struct LlCombine {
  std::shared_ptr<Group> group;
  LlTicket ticket;
  bool rankMajor = false;
  bool fp4 = false;       // rows travel as NVFP4
  size_t tokens = 0;      // T
  size_t topk = 0;        // K
  size_t elements = 0;    // H
  ncclDataType_t type = ncclBfloat16;
  size_t rowBytes = 0;

  const void* routing = nullptr;
  bool wideRouting = false;
  const unsigned char* in = nullptr;
  const float* inScales = nullptr;
  const float* weights = nullptr;
  unsigned char* out = nullptr;
  unsigned char* block = nullptr;

  cudaError_t run(WorkContext& context) const;
  cudaError_t send(WorkContext& context) const;
  cudaError_t receive(WorkContext& context) const;

 private:
  size_t inputRows() const;
  size_t stagedBytes() const;
  cudaError_t stage(WorkContext& context, LlTurn& turn) const;
  void stageRow(unsigned char* to, size_t row, const RowCopier& copier) const;
  cudaError_t collect(WorkContext& context, LlTurn& turn) const;
  cudaError_t note(WorkContext& context, const LlTurn& turn, int source, uint32_t count, const int32_t* ids) const;
  cudaError_t reduce(WorkContext& context, const int32_t* ids) const;
  cudaError_t missing(WorkContext& context, size_t token, int32_t expert) const;
};

}  // namespace emu::ep
