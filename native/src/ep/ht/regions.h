// The three regions of a rank's HT payload: what Update, Dispatch and Combine tell the other ranks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ep/sizing.h"
#include "ep/tensor.h"

namespace emu::ep {

// Tokens of one source for one destination. `ids` counts from the region's id array: the experts that the token has
// there, ascending.
struct RouteEntry {
  uint32_t token;
  uint32_t ids;
  uint32_t count;
  int32_t slot;  // FLAT slot at the destination (dispatch only)
};

struct RoutingHeader {
  uint32_t tokens;
  uint32_t topk;
  uint32_t expertMajor;
  uint32_t alignment;
};

struct MoveHeader {
  uint32_t tokens;       // dispatch: of the source. combine: rows staged
  uint32_t topk;
  uint32_t expertMajor;
  uint32_t rowBytes;     // of a token row
  uint32_t scaleBytes;   // dispatch: that follow it
  uint32_t backward;
  uint64_t tokensWindow; // windowPlace of a tensor that peers would address directly, 0 = none
  uint64_t scalesWindow;
};

class HtRegions {
 public:
  HtRegions(const Shape& s, ExpertMode mode) {
    const size_t routed = product(s.maxDispatch, s.experts);                      // distinct (token, expert) pairs
    const size_t pairs = product(s.maxDispatch, std::min(s.experts, s.ranks));   // (token, destination) pairs
    rowStride = aligned(s.maxTokenBytes, 64);
    stagedRows = mode == ExpertMode::LocalPermute ? product(s.ranks, s.maxDispatch)
                                                  : std::max(s.maxReceive, product(s.ranks, s.maxDispatch));

    first = after(0, std::max(sizeof(RoutingHeader), sizeof(MoveHeader)));
    expertTokens = after(first, (s.ranks + 1) * sizeof(uint32_t));
    entries = after(expertTokens, product(s.experts, sizeof(uint32_t)));
    ids = after(entries, product(pairs, sizeof(RouteEntry)));
    const size_t routingEnd = after(ids, product(routed, sizeof(int32_t)));

    weights = routingEnd;
    slots = after(weights, product(routed, sizeof(float)));
    dispatchRows = after(slots, product(routed, sizeof(int32_t)));
    const size_t dispatchEnd = after(dispatchRows, product(s.maxDispatch, rowStride));

    gradients = first;
    combineRows = after(gradients, product(product(stagedRows, std::max<size_t>(1, s.local())), sizeof(float)));
    const size_t combineEnd = after(combineRows, product(stagedRows, rowStride));

    dispatchAt = aligned(routingEnd, kPage);
    combineAt = aligned(sum(dispatchAt, dispatchEnd), kPage);
    bytes = aligned(sum(combineAt, combineEnd), kPage);
  }

  // Offsets within the regions. Routing and dispatch begin alike.
  size_t first;         // uint32 [R+1]: where each destination's entries begin
  size_t expertTokens;  // routing: uint32 [E], tokens of this source per expert
  size_t entries;       // RouteEntry []
  size_t ids;           // int32 []
  size_t weights;       // dispatch: float [], parallel to ids
  size_t slots;         // dispatch: int32 [], parallel to ids; expert slots where the source knows them
  size_t dispatchRows;
  size_t gradients;     // combine: float [rows][L], or [rows] where rows are expert slots
  size_t combineRows;

  size_t dispatchAt;    // where the regions begin; routing at 0
  size_t combineAt;
  size_t bytes;
  size_t rowStride;
  size_t stagedRows;    // of the combine region

 private:
  static constexpr size_t kPage = 4096;
  static size_t after(size_t at, size_t partBytes) { return aligned(sum(at, partBytes), 64); }
};

// A region of some rank.
class Region {
 public:
  Region(unsigned char* base, const HtRegions& layout) : base_(base), layout_(layout) {}
  RoutingHeader& routing() const { return *reinterpret_cast<RoutingHeader*>(base_); }
  MoveHeader& move() const { return *reinterpret_cast<MoveHeader*>(base_); }
  uint32_t* first() const { return at<uint32_t>(layout_.first); }
  uint32_t* expertTokens() const { return at<uint32_t>(layout_.expertTokens); }
  RouteEntry* entries() const { return at<RouteEntry>(layout_.entries); }
  int32_t* ids() const { return at<int32_t>(layout_.ids); }
  float* weights() const { return at<float>(layout_.weights); }
  int32_t* slots() const { return at<int32_t>(layout_.slots); }
  unsigned char* dispatchRow(size_t token) const { return base_ + layout_.dispatchRows + token * layout_.rowStride; }
  float* gradients() const { return at<float>(layout_.gradients); }
  unsigned char* combineRow(size_t row) const { return base_ + layout_.combineRows + row * layout_.rowStride; }

 private:
  template <class Element>
  Element* at(size_t offset) const {
    return reinterpret_cast<Element*>(base_ + offset);
  }
  unsigned char* base_;
  const HtRegions& layout_;
};

}  // namespace emu::ep
