// What a dispatch leaves in the handle block for the combine: per source the number of tokens, and for each the token's
// index at home and the rows that it took here. int32 throughout: [R] x {count, [B] x {token, rows [K]}}.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ep/sizing.h"

namespace emu::ep {

class LlRecords {
 public:
  LlRecords(unsigned char* block, const Shape& shape, size_t topk)
      : base_(reinterpret_cast<int32_t*>(block)),
        entryWords_(topk + 1),
        sourceWords_(1 + (topk + 1) * shape.maxDispatch) {}
  int32_t& count(size_t source) const { return base_[source * sourceWords_]; }
  int32_t* entry(size_t source, size_t index) const { return base_ + source * sourceWords_ + 1 + index * entryWords_; }

 private:
  int32_t* base_;
  size_t entryWords_;
  size_t sourceWords_;
};

}  // namespace emu::ep
