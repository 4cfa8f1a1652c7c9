// Lists of a rank's tokens by destination.
#pragma once

#include <algorithm>

#include "ep/ht/plan.h"

namespace emu::ep {

// Visits (destination, entry) for every destination of every token, tokens ascending; the entry's slot is -1.
template <class Visit>
void eachDestination(const HtPlan& plan, const HtState::Scratch& scratch, const Visit& visit) {
  const auto local = static_cast<int32_t>(plan.shape().local());
  for (size_t t = 0; t < plan.tokens; ++t) {
    uint32_t from = scratch.idsFrom[t];
    const uint32_t end = scratch.idsFrom[t + 1];
    while (from < end) {
      const int32_t destination = scratch.ids[from] / local;
      uint32_t to = from + 1;
      while (to < end && scratch.ids[to] / local == destination) ++to;
      visit(static_cast<size_t>(destination), RouteEntry{static_cast<uint32_t>(t), from, to - from, -1});
      from = to;
    }
  }
}

// Writes ids and, for each destination, the entries that `accept(destination, &entry)` does not refuse into the region.
template <class Accept>
void listByDestination(const HtPlan& plan, HtState::Scratch& scratch, const Region& region, const Accept& accept) {
  const size_t ranks = plan.shape().ranks;
  uint32_t* const first = region.first();
  std::fill(first, first + ranks + 1, 0u);
  eachDestination(plan, scratch, [&](size_t destination, RouteEntry entry) {
    if (accept(destination, &entry)) ++first[destination + 1];
  });
  for (size_t r = 0; r < ranks; ++r) first[r + 1] += first[r];
  scratch.cursors.assign(first, first + ranks);
  eachDestination(plan, scratch, [&](size_t destination, RouteEntry entry) {
    if (accept(destination, &entry)) region.entries()[scratch.cursors[destination]++] = entry;
  });
  std::copy(scratch.ids.begin(), scratch.ids.end(), region.ids());
}

}  // namespace emu::ep
