#include "ep/ht/dispatch_run.h"

#include "base/options.h"
#include "ep/faults.h"
#include "ep/ht/lists.h"
#include "ep/reading_turns.h"
#include "ep/routing.h"
#include "ep/touch.h"

namespace emu::ep {

namespace {

// Stands for the leftovers of earlier operations that the real library copies out of its staging: neither zeros nor what the
// caller had there.
constexpr int kStale = 0xdb;

}  // namespace

cudaError_t HtDispatch::run(WorkContext& context) const {
  HtTurn turn(plan, Operation::Dispatch, Channel::Dispatch, context);
  if (const cudaError_t error = turn.start(true)) return error;
  Touch touch(context, plan.function, plan.group->rank);
  touch("handle memory", plan.block, plan.parts.bytes);
  touch("inputs.tokens", in, plan.tokens * tokenBytes);
  if (scaleBytes > 0) touch("inputs.scales", inScales, plan.tokens * scaleBytes);
  if (!backward) touch("inputs.topk_weights", inWeights, plan.tokens * plan.topk * sizeof(float));
  if (!touch.good()) return cudaErrorIllegalAddress;
  const size_t rows = rowsWritten();
  if (delivers) {
    if (rows > outRows) {
      return context.fail(cudaErrorLaunchFailure, "%s on rank %d: %zu rows arrive, the outputs hold %zu", plan.function,
                          plan.group->rank, rows, outRows);
    }
    if (const cudaError_t error = touchAll(context, rows)) return error;
    if (badIdKind) {
      return context.fail(cudaErrorLaunchFailure, "%s on rank %d: unknown recv_topk_idx_kind", plan.function, plan.group->rank);
    }
  }

  if (plan.hasMaps()) {
    plan.distinctExperts(turn.scratch());
  } else {
    turn.scratch().ids.clear();
    turn.scratch().idsFrom.assign(plan.tokens + 1, 0);
  }
  if (const cudaError_t error = turn.awaitRegion()) return error;
  const RowCopier copier((rows + plan.tokens) * (tokenBytes + scaleBytes), plan.shape().ranks);
  publish(turn, copier);
  if (delivers && plan.permutes() && plan.group->drop) {
    clearRows(0, plan.budget());
    clearMeta(0, plan.budget());
  }
  ReadingTurns turns(plan.group->ranks, plan.tokens * tokenBytes);
  for (int source = 0; source < plan.group->ranks; ++source) {
    turns.next();
    bool present = false;
    if (const cudaError_t error = turn.receive(source, &present)) return error;
    if (!present) continue;
    if (const cudaError_t error = deliver(context, turn, source, rows, delivers ? &copier : nullptr)) return error;
  }
  if (delivers) finishRows(rows);
  return cudaSuccess;
}

// Rows in use of the outputs.
size_t HtDispatch::rowsWritten() const {
  return plan.keptRows(plan.group->eager || rule == RowsRule::Counted ? outRows + 1 : plan.budget());
}

cudaError_t HtDispatch::touchAll(WorkContext& context, size_t rows) const {
  size_t tokenRows = rows;
  size_t metaRows = rule == RowsRule::Counted ? rows : plan.budget();
  if (rule == RowsRule::Captured) tokenRows = std::min(plan.budget(), htStagingRows(plan.shape(), plan.group->mode));
  if (rule == RowsRule::Zones) {
    metaRows = rows;
    if (plan.group->drop) tokenRows = metaRows = plan.budget();
  }
  Touch touch(context, plan.function, plan.group->rank);
  touch("outputs.tokens", out, tokenRows * tokenBytes);
  if (scaleBytes > 0) touch("outputs.scales", outScales, tokenRows * scaleBytes);
  const size_t columns = plan.expertMajor ? 1 : plan.topk;
  if (outWeights != nullptr) touch("outputs.topk_weights", outWeights, metaRows * columns * sizeof(float));
  if (outIds != nullptr) touch("outputs.topk_idx", outIds, metaRows * columns * sizeof(int64_t));
  return touch.good() ? cudaSuccess : cudaErrorIllegalAddress;
}

// Stages each row that leaves once, lists what each destination gets, and tells everybody.
void HtDispatch::publish(HtTurn& turn, const RowCopier& copier) const {
  const Shape& shape = plan.shape();
  HtState::Scratch& scratch = turn.scratch();
  const Region region = turn.region(plan.group->rank);
  MoveHeader& header = region.move();
  header.tokens = static_cast<uint32_t>(plan.tokens);
  header.topk = static_cast<uint32_t>(plan.topk);
  header.expertMajor = plan.expertMajor ? 1 : 0;
  header.rowBytes = static_cast<uint32_t>(tokenBytes);
  header.scaleBytes = static_cast<uint32_t>(scaleBytes);
  header.backward = backward ? 1 : 0;
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
  if (!backward) spreadWeights(turn, region);

  scratch.marks.assign(plan.tokens, 0);
  for (uint32_t i = 0; i < region.first()[shape.ranks]; ++i) scratch.marks[region.entries()[i].token] = 1;
  for (size_t t = 0; t < plan.tokens; ++t) {
    if (scratch.marks[t] == 0) continue;
    copier.copy(region.dispatchRow(t), in + t * tokenBytes, tokenBytes);
    if (scaleBytes > 0) std::memcpy(region.dispatchRow(t) + tokenBytes, inScales + t * scaleBytes, scaleBytes);
  }
  copier.finish();
  for (int r = 0; r < plan.group->ranks; ++r) turn.post(r);
}

// The weight of each (token, distinct expert). Of a duplicated expert's weights any may survive: the last one here.
void HtDispatch::spreadWeights(HtTurn& turn, const Region& region) const {
  const HtState::Scratch& scratch = turn.scratch();
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

cudaError_t HtDispatch::deliver(WorkContext& context, const HtTurn& turn, int source, size_t rows, const RowCopier* copier) const {
  const Region from = turn.region(source);
  const MoveHeader& header = from.move();
  const int rank = plan.group->rank;
  if (header.topk != plan.topk || header.expertMajor != (plan.expertMajor ? 1u : 0u) || header.rowBytes != tokenBytes ||
      header.scaleBytes != scaleBytes || header.backward != (backward ? 1u : 0u)) {
    return context.fail(cudaErrorLaunchFailure, "%s: ranks %d and %d differ in top-k, layout, row bytes, or direction",
                        plan.function, rank, source);
  }
  if (header.tokensWindow != tokensWindow || header.scalesWindow != scalesWindow) {
    return context.fail(cudaErrorLaunchFailure, "%s: the windows of ranks %d and %d differ in registration order or offset",
                        plan.function, rank, source);
  }
  if (copier == nullptr) return cudaSuccess;
  for (uint32_t i = from.first()[rank]; i < from.first()[rank + 1]; ++i) {
    const RouteEntry& entry = from.entries()[i];
    bool fits = true;
    if (plan.expertMajor) {
      fits = deliverExperts(from, entry, rows, *copier);
    } else if (static_cast<size_t>(entry.slot) < rows) {
      deliverFlat(from, entry, *copier);
    } else {
      fits = false;
    }
    if (!fits) {
      return context.fail(cudaErrorLaunchFailure, "%s: the maps of ranks %d and %d are not of the same update", plan.function, rank,
                          source);
    }
  }
  return cudaSuccess;
}

void HtDispatch::deliverFlat(const Region& from, const RouteEntry& entry, const RowCopier& copier) const {
  const auto row = static_cast<size_t>(entry.slot);
  copyRow(from, entry.token, row, copier);
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
bool HtDispatch::deliverExperts(const Region& from, const RouteEntry& entry, size_t rows, const RowCopier& copier) const {
  if (plan.permutes() && (static_cast<size_t>(entry.slot) >= plan.keptTokens(plan.budget()) || entry.count > plan.topk)) return false;
  const int32_t* const slots = plan.permutes() ? plan.flatToExpert() + static_cast<size_t>(entry.slot) * plan.topk
                                               : from.slots() + entry.ids;
  for (uint32_t j = 0; j < entry.count; ++j) {
    if (slots[j] < 0) continue;
    const auto row = static_cast<size_t>(slots[j]);
    if (row >= rows) return false;
    copyRow(from, entry.token, row, copier);
    if (outWeights != nullptr) outWeights[row] = from.weights()[entry.ids + j];
  }
  return true;
}

void HtDispatch::copyRow(const Region& from, uint32_t token, size_t row, const RowCopier& copier) const {
  const unsigned char* const staged = from.dispatchRow(token);
  copier.copy(out + row * tokenBytes, staged, tokenBytes);
  if (scaleBytes > 0) std::memcpy(outScales + row * scaleBytes, staged + tokenBytes, scaleBytes);
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
      const size_t end = e + 1 < local ? std::min(rows, static_cast<size_t>(std::max<int64_t>(0, plan.expertOffsets()[e + 1]))) : rows;
      clearRows(used, end);
      clearMeta(used, end);
    }
  }
  if (rule == RowsRule::Zones) return;
  if (rule != RowsRule::Counted) clearMeta(rows, plan.budget());
  if (rule == RowsRule::Captured) {
    const size_t staged = std::min(plan.budget(), htStagingRows(plan.shape(), plan.group->mode));
    if (staged > rows) {
      std::memset(out + rows * tokenBytes, kStale, (staged - rows) * tokenBytes);
      if (scaleBytes > 0) std::memset(outScales + rows * scaleBytes, kStale, (staged - rows) * scaleBytes);
    }
  }
}

}  // namespace emu::ep
