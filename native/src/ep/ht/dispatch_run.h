// The running part of HT dispatch.
#pragma once

#include "ep/dispatch_rows.h"
#include "ep/ht/plan.h"

namespace emu::ep {

class HtExecution;

// Which rows of the outputs a dispatch writes; fixed at the call.
enum class RowsRule {
  Counted,   // as many as were received: the host knew the count
  Captured,  // all that staging holds, leftovers included; ids and weights of the whole budget
  Direct,    // tokens: the slots in use, by the peers; ids and weights of the whole budget
  Zones      // LocalPermute: zones with their padding
};

struct HtDispatch : DispatchRows {
  HtPlan plan;
  RowsRule rule = RowsRule::Counted;
  bool backward = false;
  bool copiesBudget = false; // 0.2.0: a captured dispatch overwrites all rows of the budget, with nothing to rely on
  bool delivers = true;      // false: this rank's outputs were refused, but the peers get their rows
  size_t outRows = 0;        // that the output tensors hold
  bool globalIds = false;
  bool badIdKind = false;
  int64_t* outIds = nullptr;

  void run(WorkContext& context) const;

 private:
  void checkInputs(Execution& execution) const;
  void checkOutputs(Execution& execution, size_t rows) const;
  void publish(HtExecution& execution, const RowCopier& copier) const;
  void spreadWeights(HtExecution& execution, const Region& region) const;
  void deliver(HtExecution& execution, int source, size_t rows, const RowCopier& copier) const;
  void deliverFlat(const Region& from, const RouteEntry& entry, const RowCopier& copier) const;
  bool deliverExperts(const Region& from, const RouteEntry& entry, size_t rows, const RowCopier& copier) const;
  void clearRows(size_t from, size_t to) const;
  void clearMeta(size_t from, size_t to) const;
  void finishRows(size_t rows) const;
  void noteStaged(size_t rows) const;
  size_t stagedRows() const;
};

}  // namespace emu::ep
