#include "ep/ht/dispatch_run.h"

#include "base/options.h"
#include "ep/ht/execution.h"
#include "ep/ht/lists.h"
#include "ep/shuffle.h"

namespace emu::ep {

namespace {

// Stands for rows of earlier operations: neither zeros nor what the caller had there.
constexpr int kLeftover = 0xdb;

// Staging behind the rows in use, [from, to): leftovers as far as an earlier dispatch has written, then zeros as it was
// created. With poison on, nobody shall rely on either.
void copyLeftovers(unsigned char* out, size_t from, size_t to, size_t written) {
  if (from >= to) return;
  const size_t end = options::poison() ? to : std::clamp(written, from, to);
  std::memset(out + from, kLeftover, end - from);
  std::memset(out + end, 0, to - end);
}

}  // namespace

void HtDispatch::run(WorkContext& context) const {
  HtExecution execution(plan, Operation::Dispatch, Channel::Dispatch, context);
  execution.start(true);
  checkInputs(execution);
  const size_t rows = plan.keptRows(plan.group->eager || rule == RowsRule::Counted ? outRows + 1 : plan.budget());
  if (delivers) checkOutputs(execution, rows);

  ExpertCheck routed(plan.shape().experts);
  if (plan.hasMaps()) {
    routed = plan.distinctExperts(execution.scratch());
  } else {
    execution.scratch().ids.clear();
    execution.scratch().idsFrom.assign(plan.tokens + 1, 0);
  }
  execution.awaitRegion();
  const RowCopier copier((rows + plan.tokens) * (tokenBytes + scaleBytes), plan.shape().ranks);
  publish(execution, copier);
  if (delivers && plan.permutes() && plan.group->drop) {
    clearRows(0, plan.budget());
    clearMeta(0, plan.budget());
  }
  ReadPacer pacer(plan.group->ranks, plan.tokens * tokenBytes);
  execution.receiveFromAll([&](int source) {
    pacer.next();
    execution.checkSource(source);
    if (delivers) deliver(execution, source, rows, copier);
  });
  if (delivers) finishRows(rows);
  noteStaged(rows);
  routed.finish(execution);
}

void HtDispatch::checkInputs(Execution& execution) const {
  execution.bytes("handle memory", plan.block, plan.parts.bytes);
  execution.rows("inputs.tokens", in, plan.tokens * tokenBytes);
  if (scaleBytes > 0) execution.rows("inputs.scales", inScales, plan.tokens * scaleBytes);
  if (!backward) execution.elements("inputs.topk_weights", inWeights, plan.tokens * plan.topk);
}

void HtDispatch::checkOutputs(Execution& execution, size_t rows) const {
  if (rows > outRows) execution.fail("%zu rows arrive, the outputs hold %zu", rows, outRows);
  size_t tokenRows = rows;
  size_t metaRows = rule == RowsRule::Counted ? rows : plan.budget();
  if (rule == RowsRule::Captured) tokenRows = stagedRows();
  if (rule == RowsRule::Zones) {
    metaRows = rows;
    if (plan.group->drop) tokenRows = metaRows = plan.budget();
  }
  execution.rows("outputs.tokens", out, tokenRows * tokenBytes);
  if (scaleBytes > 0) execution.rows("outputs.scales", outScales, tokenRows * scaleBytes);
  const size_t columns = plan.expertMajor ? 1 : plan.topk;
  if (outWeights != nullptr) execution.elements("outputs.topk_weights", outWeights, metaRows * columns);
  if (outIds != nullptr) execution.elements("outputs.topk_idx", outIds, metaRows * columns);
  if (badIdKind) execution.fail("unknown recv_topk_idx_kind");
}

// Stages each row that leaves once, lists what each destination gets, and tells everybody.
void HtDispatch::publish(HtExecution& execution, const RowCopier& copier) const {
  const Shape& shape = plan.shape();
  HtState::Scratch& scratch = execution.scratch();
  const Region region = execution.mine();
  MoveHeader& header = region.move();
  header = plan.moveHeader(tokenBytes, backward);
  header.tokens = static_cast<uint32_t>(plan.tokens);
  header.scaleBytes = static_cast<uint32_t>(scaleBytes);
  header.tokensWindow = tokensWindow;
  header.scalesWindow = scalesWindow;

  const int32_t* const map = plan.slotMap();
  if (plan.duplicates) {
    // Where the maps hold expert slots they travel beside the ids.
    for (size_t t = 0; t < plan.tokens; ++t) {
      for (size_t i = scratch.idsFrom[t]; i < scratch.idsFrom[t + 1]; ++i) {
        const int32_t packed = map[t * plan.topk + i - scratch.idsFrom[t]];
        region.slots()[i] = packed < 0 ? -1 : static_cast<int32_t>(packedSlot(packed));
      }
    }
    listByDestination(plan, scratch, region, [&](size_t, RouteEntry* entry) {
      const int32_t* const slots = region.slots() + entry->ids;
      return std::any_of(slots, slots + entry->count, [](int32_t slot) { return slot >= 0; });
    });
  } else {
    listByDestination(plan, scratch, region, [&](size_t destination, RouteEntry* entry) {
      entry->slot = map[entry->token * shape.ranks + destination];
      return entry->slot >= 0;
    });
  }
  if (!backward) spreadWeights(execution, region);

  scratch.marks.assign(plan.tokens, 0);
  for (uint32_t i = 0; i < region.first()[shape.ranks]; ++i) scratch.marks[region.entries()[i].token] = 1;
  for (size_t t = 0; t < plan.tokens; ++t) {
    if (scratch.marks[t] == 0) continue;
    stageInput(region.dispatchRow(t), t, copier);
  }
  copier.finish();
  execution.postToAll();
}

// The weight of each (token, distinct expert). Of a duplicated expert's weights any may survive: the last one here.
void HtDispatch::spreadWeights(HtExecution& execution, const Region& region) const {
  const HtState::Scratch& scratch = execution.scratch();
  const RoutingReader reader(plan.routingCopy(), plan.wideRouting);
  const uint64_t seed = options::shuffleSeed();
  Shuffle shuffle(seed ^ (static_cast<uint64_t>(plan.group->rank) << 8));
  for (size_t t = 0; t < plan.tokens; ++t) {
    const int32_t* const begin = scratch.ids.data() + scratch.idsFrom[t];
    const int32_t* const end = scratch.ids.data() + scratch.idsFrom[t + 1];
    const bool reverse = seed != 0 && shuffle.below(2) == 1;
    for (size_t i = 0; i < plan.topk; ++i) {
      const size_t k = reverse ? plan.topk - 1 - i : i;
      const int64_t id = reader.at(t * plan.topk + k);
      const int32_t* const found = std::find(begin, end, id);
      if (found != end) region.weights()[scratch.idsFrom[t] + (found - begin)] = inWeights[t * plan.topk + k];
    }
  }
}

void HtDispatch::deliver(HtExecution& execution, int source, size_t rows, const RowCopier& copier) const {
  const Region from = execution.region(source);
  const int rank = plan.group->rank;
  for (uint32_t i = from.first()[rank]; i < from.first()[rank + 1]; ++i) {
    const RouteEntry& entry = from.entries()[i];
    bool fits = true;
    if (plan.expertMajor) {
      fits = deliverExperts(from, entry, rows, copier);
    } else if (static_cast<size_t>(entry.slot) < rows) {
      deliverFlat(from, entry, copier);
    } else {
      fits = false;
    }
    if (!fits) execution.failBetween(source, "the maps of ", "are not of the same update");
  }
}

void HtDispatch::deliverFlat(const Region& from, const RouteEntry& entry, const RowCopier& copier) const {
  const auto row = static_cast<size_t>(entry.slot);
  copyRow(from.dispatchRow(entry.token), row, copier);
  const auto begin = static_cast<int64_t>(static_cast<size_t>(plan.group->rank) * plan.shape().local());
  const size_t columns = plan.topk;
  for (size_t j = 0; j < columns; ++j) {
    const bool used = j < entry.count;
    if (outIds != nullptr) {
      const int64_t id = used ? from.ids()[entry.ids + j] : -1;
      outIds[row * columns + j] = used && !globalIds ? id - begin : id;
    }
    if (outWeights != nullptr) outWeights[row * columns + j] = used ? from.weights()[entry.ids + j] : 0.0f;
  }
}

// False if a slot lies outside the rows in use.
bool HtDispatch::deliverExperts(const Region& from, const RouteEntry& entry, size_t rows,
                                const RowCopier& copier) const {
  const auto slot = static_cast<size_t>(entry.slot);
  if (plan.permutes() && (slot >= plan.keptTokens(plan.budget()) || entry.count > plan.topk)) return false;
  const int32_t* const slots = plan.permutes() ? plan.flatToExpert() + static_cast<size_t>(entry.slot) * plan.topk
                                               : from.slots() + entry.ids;
  for (uint32_t j = 0; j < entry.count; ++j) {
    if (slots[j] < 0) continue;
    const auto row = static_cast<size_t>(slots[j]);
    if (row >= rows) return false;
    copyRow(from.dispatchRow(entry.token), row, copier);
    if (outWeights != nullptr) outWeights[row] = from.weights()[entry.ids + j];
  }
  return true;
}

void HtDispatch::clearRows(size_t from, size_t to) const {
  if (from >= to) return;
  std::memset(out + from * tokenBytes, 0, (to - from) * tokenBytes);
  if (scaleBytes > 0) std::memset(outScales + from * scaleBytes, 0, (to - from) * scaleBytes);
}

// "No expert" in ids and weights.
void HtDispatch::clearMeta(size_t from, size_t to) const {
  if (from >= to) return;
  const size_t columns = plan.expertMajor ? 1 : plan.topk;
  if (outWeights != nullptr) std::fill(outWeights + from * columns, outWeights + to * columns, 0.0f);
  if (outIds != nullptr) std::fill(outIds + from * columns, outIds + to * columns, int64_t{-1});
}

// Padding of expert zones, and what lies behind the rows in use.
void HtDispatch::finishRows(size_t rows) const {
  if (plan.expertMajor && plan.hasMaps()) {
    const size_t local = plan.shape().local();
    for (size_t e = 0; e < local; ++e) {
      const auto zone = static_cast<size_t>(std::max<int64_t>(0, plan.expertOffsets()[e]));
      const auto count = static_cast<size_t>(std::max(0, plan.expertCounts()[e]));
      const size_t used = std::min(rows, zone + count);
      const size_t end =
          e + 1 < local ? std::min(rows, static_cast<size_t>(std::max<int64_t>(0, plan.expertOffsets()[e + 1]))) : rows;
      clearRows(used, end);
      clearMeta(used, end);
    }
  }
  if (rule == RowsRule::Zones) return;
  if (rule != RowsRule::Counted) clearMeta(rows, plan.budget());
  if (rule != RowsRule::Captured) return;
  const HtState& ht = plan.group->ht;
  const auto written = [&](size_t bytes) { return copiesBudget ? SIZE_MAX : bytes; };
  copyLeftovers(out, rows * tokenBytes, stagedRows() * tokenBytes, written(ht.stagedTokenBytes));
  if (scaleBytes > 0) {
    copyLeftovers(outScales, rows * scaleBytes, stagedRows() * scaleBytes, written(ht.stagedScaleBytes));
  }
}

// Rows that staging holds, and a captured dispatch copies.
size_t HtDispatch::stagedRows() const {
  return copiesBudget ? plan.budget() : std::min(plan.budget(), htStagingRows(plan.shape(), plan.group->mode));
}

// What this dispatch leaves in staging for later ones. Rows that peers wrote into a window were never there.
void HtDispatch::noteStaged(size_t rows) const {
  HtState& ht = plan.group->ht;
  const size_t staged = plan.permutes() ? plan.keptTokens(plan.budget()) : rows;
  if (tokensWindow == 0) ht.stagedTokenBytes = std::max(ht.stagedTokenBytes, staged * tokenBytes);
  if (scalesWindow == 0) ht.stagedScaleBytes = std::max(ht.stagedScaleBytes, staged * scaleBytes);
}

}  // namespace emu::ep
