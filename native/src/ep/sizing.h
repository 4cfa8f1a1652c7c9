// Sizes that the real library computes, byte for byte. Anything that does not fit sticks at SIZE_MAX.
#pragma once

#include <cstddef>

#include "abi/nccl_ep.h"

namespace emu::ep {

// How HT groups treat EXPERT_MAJOR handles.
enum class ExpertMode { LocalPermute, LocalDup, NvlinkDup };

struct Shape {
  size_t ranks = 1;
  size_t experts = 1;
  size_t maxDispatch = 1;   // B: tokens that a rank may dispatch
  size_t maxReceive = 1;    // M: rows that a rank may receive
  size_t maxTokenBytes = 16;
  size_t team = 0;          // S: ranks of an LSA team, 0 = all
  size_t chunk = 64;        // C: tokens that HT sends to another team at a time
  size_t teamSize() const { return team == 0 ? ranks : team; }
  size_t teams() const { return ranks / teamSize(); }  // N
  size_t teamOf(size_t rank) const { return rank / teamSize(); }
  size_t teamExperts() const { return local() * teamSize(); }  // of the ranks of one team
  size_t local() const { return experts / ranks; }  // L: experts per rank
};

// The LL buffer, both halves of it.
struct LlBuffer {
  size_t totalBytes = 0;
  bool regionsAligned = true;  // the four regions are multiples of 16 bytes
};
LlBuffer llBuffer(const Shape& shape, ncclEpLayout_t layout, size_t topk);

size_t llHandleBytes(const Shape& shape, size_t topk);

// Where the parts of an HT handle block lie. Parts that a handle does not have take no bytes.
struct HtBlock {
  size_t counters = 0;       // 256 bytes of totals
  size_t slotMap = 0;        // int32 [N B][S], or [N B][K] packed where duplicates are made
  size_t topk = 0;           // [B][K], as wide as given
  size_t expertCounts = 0;   // int32 [L]
  size_t expertOffsets = 0;  // int64 [L+1]
  size_t groups = 0;         // int32 [M/2][min(K,L)]: slots of tokens with several experts here (LocalDup)
  size_t groupCount = 0;     // 256 bytes
  size_t flatToExpert = 0;   // int32 [M][K] (LocalPermute)
  size_t bytes = 0;
};
HtBlock htBlock(const Shape& shape, ExpertMode mode, bool expertMajor, size_t topk, size_t multiprocessors);

// The memory that an HT group registers for its peers, in its own team and in others.
size_t htGroupBytes(const Shape& shape, ExpertMode mode, bool zeroCopyOn);
// Of a token's row of experts in the routing that HT updates exchange: each team's experts begin a byte.
inline size_t htMapRowBytes(const Shape& s) { return s.teams() * ((s.teamExperts() + 7) / 8); }
// Rows of HT staging: tokens on the way, or expert slots where duplicates are made.
size_t htStagingRows(const Shape& shape, ExpertMode mode);

}  // namespace emu::ep
