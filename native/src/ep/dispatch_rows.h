// The rows of a dispatch, LL and HT alike: where they are read, staged and written.
#pragma once

#include <cstring>

#include "ep/recipe.h"
#include "ep/rows.h"

namespace emu::ep {

struct DispatchRows {
  size_t tokenBytes = 0;  // of a received row
  size_t scaleBytes = 0;

  const unsigned char* in = nullptr;
  const float* inWeights = nullptr;
  const unsigned char* inScales = nullptr;
  unsigned char* out = nullptr;
  float* outWeights = nullptr;
  unsigned char* outScales = nullptr;
  uint64_t tokensWindow = 0;  // windowPlace of outputs that peers would address directly, 0 = none
  uint64_t scalesWindow = 0;

  void setRows(const DispatchArguments& a) {
    tokenBytes = a.wireTokenBytes();
    scaleBytes = a.wireScaleBytes();
    in = a.tokens.data;
    inScales = a.scales.data;
    out = a.outTokens.data;
    outScales = a.outScales.data;
  }

  // Puts an input row as it is, its scales behind it, into staging.
  void stageInput(unsigned char* to, size_t token, const RowCopier& copier) const {
    copier.copy(to, in + token * tokenBytes, tokenBytes);
    if (scaleBytes > 0) std::memcpy(to + tokenBytes, inScales + token * scaleBytes, scaleBytes);
  }

  // Copies a staged row into a row of the outputs.
  void copyRow(const unsigned char* staged, size_t row, const RowCopier& copier) const {
    copier.copy(out + row * tokenBytes, staged, tokenBytes);
    if (scaleBytes > 0) std::memcpy(outScales + row * scaleBytes, staged + tokenBytes, scaleBytes);
  }
};

}  // namespace emu::ep
