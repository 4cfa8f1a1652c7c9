// The running part of HT UpdateHandle.
#pragma once

#include "ep/ht/plan.h"

namespace emu::ep {

// A counter tensor of the caller, of either integer width.
struct CounterTarget {
  unsigned char* data = nullptr;
  bool wide = false;
  size_t bytes(size_t count) const { return count * (wide ? sizeof(int64_t) : sizeof(int32_t)); }
  void set(size_t index, int64_t value) const {
    if (wide) {
      reinterpret_cast<int64_t*>(data)[index] = value;
    } else {
      reinterpret_cast<int32_t*>(data)[index] = static_cast<int32_t>(value);
    }
  }
};

struct HtUpdate {
  HtPlan plan;
  const void* routing = nullptr;
  CounterTarget expertCounters;
  CounterTarget expertOffsets;
  CounterTarget total;

  cudaError_t run(WorkContext& context) const;

 private:
  cudaError_t touchAll(WorkContext& context) const;
  void publish(HtTurn& turn) const;
  void assignFlatSlots(HtTurn& turn, uint64_t present) const;
  bool assignExpertSlots(HtTurn& turn, uint64_t present) const;
  cudaError_t countFlat(WorkContext& context, HtTurn& turn, uint64_t present) const;
  cudaError_t countExperts(WorkContext& context, HtTurn& turn, uint64_t present) const;
  void placeRows(HtTurn& turn, uint64_t present) const;
  cudaError_t overflow(WorkContext& context, const char* what, int64_t rows) const;
  bool drops() const { return plan.group->drop; }
};

}  // namespace emu::ep
