// What every HT operation fixes at its call, and the handle block seen through it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ep/handle.h"
#include "ep/routing.h"

namespace emu::ep {

// At the head of the block's counters. A block whose mark is missing has seen no update and holds empty maps.
struct HtCounters {
  static constexpr uint64_t kMark = 0x6e63636c34524f55u;
  uint64_t mark;
  int64_t flatKept;     // received tokens that have a FLAT slot
  int64_t rows;         // rows that a dispatch fills: FLAT tokens, or padded expert slots, as far as the budget goes
  int64_t groupCount;   // LocalDup: tokens with several kept rows here
};

struct HtPlan {
  std::shared_ptr<Group> group;
  const char* function = "";
  bool expertMajor = false;
  bool duplicates = false;   // expert-major, not by LocalPermute
  size_t topk = 0;
  size_t tokens = 0;         // T
  bool wideRouting = true;   // of the block's copy of topk_idx
  size_t alignment = 1;
  unsigned char* block = nullptr;
  HtBlock parts;

  HtPlan() = default;
  HtPlan(const char* name, const Handle& handle, size_t tokenCount);

  bool permutes() const { return expertMajor && !duplicates; }
  const Shape& shape() const { return group->shape; }
  size_t budget() const { return group->shape.maxReceive; }  // M
  size_t slotColumns() const { return duplicates ? topk : group->shape.ranks; }

  HtCounters& counters() const { return at<HtCounters>(parts.counters)[0]; }
  int32_t* slotMap() const { return at<int32_t>(parts.slotMap); }
  unsigned char* routingCopy() const { return block + parts.topk; }
  int32_t* expertCounts() const { return at<int32_t>(parts.expertCounts); }
  int64_t* expertOffsets() const { return at<int64_t>(parts.expertOffsets); }
  int32_t* flatToExpert() const { return at<int32_t>(parts.flatToExpert); }
  int32_t* groups() const { return at<int32_t>(parts.groups); }
  size_t groupColumns() const { return std::min(topk, group->shape.local()); }

  // What a dispatch or combine announces.
  MoveHeader moveHeader(size_t rowBytes, bool backward) const;

  bool hasMaps() const { return counters().mark == HtCounters::kMark; }
  // Rows that a dispatch fills, as the last update left them; 0 without one, never more than `limit`.
  size_t keptRows(size_t limit) const { return clamp(hasMaps() ? counters().rows : 0, limit); }
  size_t keptTokens(size_t limit) const { return clamp(hasMaps() ? counters().flatKept : 0, limit); }

  // Fills scratch.ids and idsFrom from the block's copy of the routing: each token's distinct experts, ascending. An
  // expert that does not exist is left out; the check is to be finished when the other ranks have what they wait for.
  ExpertCheck distinctExperts(HtState::Scratch& scratch) const;

 private:
  template <class Element>
  Element* at(size_t offset) const {
    return reinterpret_cast<Element*>(block + offset);
  }
  static size_t clamp(int64_t value, size_t limit) {
    return value <= 0 ? 0 : std::min(static_cast<size_t>(value), limit);
  }
};

// dup-mode slot maps hold destination and slot in one word.
constexpr int kSlotBits = 22;
constexpr int32_t packSlot(size_t destination, int64_t slot) {
  return static_cast<int32_t>(destination << kSlotBits | static_cast<size_t>(slot));
}
constexpr size_t packedRank(int32_t packed) { return static_cast<uint32_t>(packed) >> kSlotBits; }
constexpr size_t packedSlot(int32_t packed) { return static_cast<uint32_t>(packed) & ((1u << kSlotBits) - 1); }

}  // namespace emu::ep
