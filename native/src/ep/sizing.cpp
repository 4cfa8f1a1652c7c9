#include "ep/sizing.h"

#include <algorithm>

#include "ep/tensor.h"

namespace emu::ep {

namespace {

size_t product(size_t a, size_t b, size_t c) { return ep::product(ep::product(a, b), c); }

// Hands out 256-byte aligned parts of a block.
class Parts {
 public:
  size_t take(size_t bytes) {
    const size_t at = used_;
    used_ = sum(used_, aligned(bytes, 256));
    return at;
  }
  size_t used() const { return used_; }

 private:
  size_t used_ = 0;
};

// What goes to and comes from other teams. Each part begins at a page.
size_t interTeamBytes(const Shape& s) {
  const size_t others = s.teams() - 1;
  if (others == 0) return 0;
  constexpr size_t kPage = 4096;
  const size_t tokens = ep::product(others, aligned(s.maxDispatch, s.chunk));
  const size_t chunks = ep::product(others, (s.maxDispatch + s.chunk - 1) / s.chunk);
  const size_t weights = ep::product(s.teamExperts(), 4);
  const size_t packed = aligned(product(others, s.maxDispatch, sum(s.maxTokenBytes, weights)), kPage);
  const size_t twice = sum(sum(aligned(ep::product(tokens, s.maxTokenBytes), kPage),  // partial sums and their arrival
                               aligned(ep::product(tokens, weights), kPage)),         // gradients likewise
                           sum(aligned(ep::product(chunks, 8), kPage),                // arrival flags
                               sum(aligned(ep::product(s.teams(), 8), kPage), packed)));  // readiness; rows to send
  const size_t own = sum(aligned(ep::product(s.maxDispatch, s.maxTokenBytes), kPage),
                         aligned(product(s.maxDispatch, s.experts, 4), kPage));
  return sum(ep::product(2, twice), own);
}

}  // namespace

LlBuffer llBuffer(const Shape& s, ncclEpLayout_t layout, size_t topk) {
  const bool rankMajor = layout == NCCL_EP_LAYOUT_RANK_MAJOR;
  const size_t header = aligned(sum(4, ep::product(topk, rankMajor ? 8 : 2)), 16);
  const size_t dispatchMessage = sum(header, s.maxTokenBytes);
  const size_t combineMessage = sum(s.maxTokenBytes, s.maxTokenBytes / 2 / 128 * 4);
  const size_t combineSend = product(rankMajor ? s.ranks : s.experts, s.maxDispatch, combineMessage);
  const size_t dispatchSend = ep::product(s.maxDispatch, dispatchMessage);
  const size_t dispatchReceive = product(s.ranks, s.maxDispatch, dispatchMessage);
  const size_t combineReceive = product(s.maxDispatch, topk, combineMessage);
  const size_t slot = std::max(sum(dispatchSend, dispatchReceive), sum(combineSend, combineReceive));
  const size_t signals = aligned(ep::product(4, s.experts), 128);
  LlBuffer buffer;
  buffer.totalBytes = sum(ep::product(2, slot), ep::product(2, signals));
  for (const size_t region : {dispatchSend, dispatchReceive, combineSend, combineReceive}) {
    if (region % 16 != 0) buffer.regionsAligned = false;
  }
  return buffer;
}

size_t llHandleBytes(const Shape& s, size_t topk) {
  const size_t perSource = sum(1, ep::product(topk + 1, s.maxDispatch));
  return sum(aligned(product(s.ranks, perSource, 4), 256), aligned(product(s.local(), s.ranks, 8), 256));
}

HtBlock htBlock(const Shape& s, ExpertMode mode, bool expertMajor, size_t topk, size_t multiprocessors) {
  const bool dup = expertMajor && mode != ExpertMode::LocalPermute;
  const bool permute = expertMajor && mode == ExpertMode::LocalPermute;
  const size_t maxDispatch = s.maxDispatch;
  HtBlock block;
  Parts parts;
  const size_t allTokens = ep::product(s.teams(), maxDispatch);  // of the ranks in the same place of each team
  parts.take(ep::product(s.teams(), aligned(maxDispatch, 16)));  // which of them are needed here
  if (s.teams() > 1) parts.take(ep::product(s.teams() - 1, maxDispatch));  // which own tokens other teams need
  parts.take(ep::product(s.maxReceive, s.local()));              // experts of each received row
  block.counters = parts.take(256);
  block.slotMap = parts.take(product(allTokens, dup ? topk : s.teamSize(), 4));
  parts.take(product(ep::product(allTokens, s.teamSize()), (s.teamSize() + 63) / 64, 8));  // ranks of each token
  parts.take(product(multiprocessors, s.teamSize(), 8));                                   // scan scratch
  if (s.teams() == 1) parts.take(product(maxDispatch, s.experts, 4));                      // dense weights
  block.topk = parts.take(product(maxDispatch, topk, 8));
  if (expertMajor) {
    block.expertCounts = parts.take(ep::product(s.local(), 4));
    block.expertOffsets = parts.take(ep::product(s.local() + 1, 8));
  }
  if (dup && mode == ExpertMode::LocalDup) {
    block.groups = parts.take(product(s.maxReceive / 2, std::min(topk, s.local()), 4));
    block.groupCount = parts.take(256);
  }
  if (permute) {
    block.flatToExpert = parts.take(product(s.maxReceive, topk, 4));
    parts.take(product(s.maxReceive, topk, 4));          // weights in FLAT order
    parts.take(product(maxDispatch, s.ranks, 4));        // FLAT slots of own tokens
  }
  block.bytes = parts.used();
  return block;
}

size_t htStagingRows(const Shape& s, ExpertMode mode) {
  return mode == ExpertMode::LocalPermute ? ep::product(s.ranks, s.maxDispatch) : s.maxReceive;
}

size_t htGroupBytes(const Shape& s, ExpertMode mode, bool zeroCopyOn) {
  const size_t tokens = aligned(ep::product(htStagingRows(s, mode), s.maxTokenBytes), 256);
  const size_t weights = aligned(product(s.maxReceive, s.teamExperts(), 4), 256);
  const size_t scales = aligned(ep::product(s.maxReceive, s.maxTokenBytes), 256);
  const size_t both = ep::product(2, sum(weights, zeroCopyOn ? 0 : tokens));
  return sum(sum(both, scales), interTeamBytes(s));
}

}  // namespace emu::ep
