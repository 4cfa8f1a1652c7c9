// The running part of HT UpdateHandle.
#pragma once

#include "ep/ht/plan.h"

namespace emu::ep {

class HtExecution;

// A counter tensor of the caller, of either integer width.
struct CounterTarget {
  unsigned char* data = nullptr;
  bool wide = false;
  size_t elementBytes() const { return wide ? sizeof(int64_t) : sizeof(int32_t); }
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

  void run(WorkContext& context) const;

 private:
  void checkAddresses(Execution& execution) const;
  void checkHosts(Execution& execution) const;
  void publish(HtExecution& execution) const;
  void assignFlatSlots(HtExecution& execution) const;
  bool assignExpertSlots(HtExecution& execution) const;
  void countFlat(HtExecution& execution) const;
  void countExperts(HtExecution& execution) const;
  void placeRows(HtExecution& execution) const;
  [[noreturn]] void overflow(Execution& execution, const char* what, int64_t rows) const;
  bool drops() const { return plan.group->drop; }
};

}  // namespace emu::ep
