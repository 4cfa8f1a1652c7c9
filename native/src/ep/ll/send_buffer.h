// One of the two send buffers of a rank, used by turns: what an LL operation tells the other ranks.
//
// Dispatch: the tokens, each row once, with their experts and weights, and for each destination the list of its tokens.
// Combine: for each home rank the rows it gets back, one after the other, and to which token and top-k position they
// belong.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ep/sizing.h"
#include "ep/tensor.h"

namespace emu::ep {

constexpr size_t kMaxLlTopk = 32;

struct SendBufferHeader {
  uint32_t layout;        // ncclEpLayout_t
  uint32_t topk;
  uint32_t rowBytes;      // that are in use of each staged row
  uint64_t tokensWindow;  // windowPlace of an output that peers would write directly, 0 = none
  uint64_t scalesWindow;
};

struct CombineEntry {
  uint32_t token;
  uint32_t position;  // of the top-k; 0 in RANK_MAJOR
};

// Offsets within a send buffer, the same on every rank.
struct SendBufferLayout {
  size_t first;        // uint32 [R+1]: where each destination's list begins
  size_t tokenList;    // dispatch: uint32 [B * min(K, R)]
  size_t ids;          // dispatch: int32 [B][K], -1 where not routed
  size_t weights;      // dispatch: float [B][K]
  size_t dispatchRows;
  size_t entryList;    // combine: CombineEntry [maxEntries]
  size_t combineRows;
  size_t rowStride;
  size_t maxEntries;   // rows that a rank can return: no more than expert slots exist
  size_t bytes;

  explicit SendBufferLayout(const Shape& s) {
    const size_t topk = std::min(s.experts, kMaxLlTopk);
    const size_t routed = product(s.maxDispatch, topk);
    rowStride = aligned(s.maxTokenBytes, 64);
    maxEntries = product(product(s.ranks, s.maxDispatch), std::max<size_t>(1, std::min(s.local(), kMaxLlTopk)));
    first = sizeof(SendBufferHeader);
    const size_t body = after(first, (s.ranks + 1) * sizeof(uint32_t));
    tokenList = body;
    ids = after(tokenList, product(product(s.maxDispatch, std::min(topk, s.ranks)), sizeof(uint32_t)));
    weights = after(ids, product(routed, sizeof(int32_t)));
    dispatchRows = after(weights, product(routed, sizeof(float)));
    const size_t dispatchEnd = after(dispatchRows, product(s.maxDispatch, rowStride));
    entryList = body;
    combineRows = after(entryList, product(maxEntries, sizeof(CombineEntry)));
    const size_t combineEnd = after(combineRows, product(maxEntries, rowStride));
    bytes = std::max(dispatchEnd, combineEnd);
  }

 private:
  static size_t after(size_t at, size_t partBytes) { return aligned(sum(at, partBytes), 64); }
};

// A send buffer of some rank.
class SendBuffer {
 public:
  SendBuffer(unsigned char* base, const SendBufferLayout& layout) : base_(base), layout_(layout) {}
  SendBufferHeader& header() const { return *reinterpret_cast<SendBufferHeader*>(base_); }
  uint32_t* first() const { return reinterpret_cast<uint32_t*>(base_ + layout_.first); }
  uint32_t* tokenList() const { return reinterpret_cast<uint32_t*>(base_ + layout_.tokenList); }
  int32_t* ids() const { return reinterpret_cast<int32_t*>(base_ + layout_.ids); }
  float* weights() const { return reinterpret_cast<float*>(base_ + layout_.weights); }
  unsigned char* dispatchRow(size_t token) const { return base_ + layout_.dispatchRows + token * layout_.rowStride; }
  CombineEntry* entries() const { return reinterpret_cast<CombineEntry*>(base_ + layout_.entryList); }
  unsigned char* combineRow(size_t entry) const { return base_ + layout_.combineRows + entry * layout_.rowStride; }

 private:
  unsigned char* base_;
  const SendBufferLayout& layout_;
};

}  // namespace emu::ep
