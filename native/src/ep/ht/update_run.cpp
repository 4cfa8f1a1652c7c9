#include "ep/ht/update_run.h"

#include <cstring>

#include "ep/ht/execution.h"
#include "ep/ht/lists.h"

namespace emu::ep {

namespace {

int64_t padded(int64_t count, size_t alignment) {
  const auto unit = static_cast<int64_t>(alignment);
  return (count + unit - 1) / unit * unit;
}

}  // namespace

void HtUpdate::run(WorkContext& context) const {
  HtExecution execution(plan, Operation::Update, Channel::Routing, context);
  execution.start(false);
  checkAddresses(execution);
  checkHosts(execution);

  plan.counters() = HtCounters{};
  std::memset(plan.slotMap(), 0xff, plan.shape().maxDispatch * plan.slotColumns() * sizeof(int32_t));
  if (plan.tokens > 0) {
    std::memcpy(plan.routingCopy(), routing, plan.tokens * plan.topk * RoutingReader::elementBytes(plan.wideRouting));
  }
  const ExpertCheck routed = plan.distinctExperts(execution.scratch());
  execution.awaitRegion();
  publish(execution);
  routed.finish(execution);
  execution.receiveFromAll([&](int source) {
    const RoutingHeader& header = execution.region(source).routing();
    if (header.topk != plan.topk || header.expertMajor != (plan.expertMajor ? 1u : 0u) ||
        header.alignment != plan.alignment) {
      execution.failBetween(source, "the handles of ", "differ in top-k, layout, or alignment");
    }
  });
  if (!plan.duplicates) {
    assignFlatSlots(execution);
  } else if (!assignExpertSlots(execution)) {
    overflow(execution, "a rank's expert rows", -1);
  }
  plan.expertMajor ? countExperts(execution) : countFlat(execution);
}

void HtUpdate::checkAddresses(Execution& execution) const {
  const size_t local = plan.shape().local();
  execution.elements("topk_idx", routing, plan.tokens * plan.topk, RoutingReader::elementBytes(plan.wideRouting));
  execution.bytes("handle memory", plan.block, plan.parts.bytes);
  if (expertCounters.data != nullptr) {
    execution.elements("expert_counters", expertCounters.data, local, expertCounters.elementBytes());
  }
  if (expertOffsets.data != nullptr) {
    execution.elements("expert_offsets", expertOffsets.data, local, expertOffsets.elementBytes());
  }
  if (total.data != nullptr) execution.elements("recv_total_counter", total.data, 1, total.elementBytes());
}

// The real library counts hosts by their names and teams by NCCL: several teams on one host write through a map that
// only several hosts have.
void HtUpdate::checkHosts(Execution& execution) const {
  const Topology& topology = plan.group->topology;
  if (topology.teams() > 1 && topology.hosts == 1) {
    execution.fail(cudaErrorIllegalAddress, "%d LSA teams, but all hosts have one name", topology.teams());
  }
}

// Writes this rank's routing into its region, listed by destination, and tells everybody.
void HtUpdate::publish(HtExecution& execution) const {
  const Shape& shape = plan.shape();
  HtState::Scratch& scratch = execution.scratch();
  const Region region = execution.mine();
  region.routing() = RoutingHeader{static_cast<uint32_t>(plan.tokens), static_cast<uint32_t>(plan.topk),
                                   plan.expertMajor ? 1u : 0u, static_cast<uint32_t>(plan.alignment)};
  listByDestination(plan, scratch, region, [](size_t, RouteEntry*) { return true; });
  std::memset(region.expertTokens(), 0, shape.experts * sizeof(uint32_t));
  for (const int32_t id : scratch.ids) ++region.expertTokens()[id];
  execution.postToAll();
}

// FLAT slots of this rank's tokens at every destination.
void HtUpdate::assignFlatSlots(HtExecution& execution) const {
  const Shape& shape = plan.shape();
  HtState::Scratch& scratch = execution.scratch();
  scratch.slots.assign(shape.ranks, 0);
  execution.eachPresent([&](int source) {
    if (source >= plan.group->rank) return;
    const uint32_t* const first = execution.region(source).first();
    for (size_t d = 0; d < shape.ranks; ++d) scratch.slots[d] += first[d + 1] - first[d];
  });
  int32_t* const map = plan.slotMap();
  const size_t local = shape.local();
  for (size_t t = 0; t < plan.tokens; ++t) {
    for (size_t i = scratch.idsFrom[t]; i < scratch.idsFrom[t + 1]; ++i) {
      const size_t destination = static_cast<size_t>(scratch.ids[i]) / local;
      if (i > scratch.idsFrom[t] && static_cast<size_t>(scratch.ids[i - 1]) / local == destination) continue;
      const int64_t slot = scratch.slots[destination]++;
      if (slot < static_cast<int64_t>(plan.budget())) map[t * shape.ranks + destination] = static_cast<int32_t>(slot);
    }
  }
}

// Expert slots of this rank's tokens at every destination. False if some destination overflows and may not drop.
bool HtUpdate::assignExpertSlots(HtExecution& execution) const {
  const Shape& shape = plan.shape();
  HtState::Scratch& scratch = execution.scratch();
  const auto budget = static_cast<int64_t>(plan.budget());
  std::vector<int64_t>& next =
      scratch.slots;  // of each expert: its zone's begin, then where this rank's next token goes
  next.assign(shape.experts, 0);
  scratch.totals.assign(shape.experts, 0);
  execution.eachPresent([&](int source) {
    const uint32_t* const tokensOf = execution.region(source).expertTokens();
    for (size_t e = 0; e < shape.experts; ++e) {
      scratch.totals[e] += tokensOf[e];
      if (source < plan.group->rank) next[e] += tokensOf[e];
    }
  });
  const size_t ownTeam = shape.teamOf(static_cast<size_t>(plan.group->rank));
  bool fits = true;
  for (size_t d = 0; d < shape.ranks; ++d) {
    int64_t zone = 0;
    for (size_t e = d * shape.local(); e < (d + 1) * shape.local(); ++e) {
      next[e] += zone;
      zone += padded(scratch.totals[e], plan.alignment);
    }
    if (zone > budget && shape.teamOf(d) == ownTeam) fits = false;  // other teams see to themselves
  }
  int32_t* const map = plan.slotMap();
  for (size_t t = 0; t < plan.tokens; ++t) {
    for (size_t i = scratch.idsFrom[t]; i < scratch.idsFrom[t + 1]; ++i) {
      const auto expert = static_cast<size_t>(scratch.ids[i]);
      const int64_t slot = next[expert]++;
      if (slot < budget) map[t * plan.topk + i - scratch.idsFrom[t]] = packSlot(expert / shape.local(), slot);
    }
  }
  return fits || drops();
}

void HtUpdate::overflow(Execution& execution, const char* what, int64_t rows) const {
  const std::string count = rows < 0 ? "" : std::to_string(rows) + " ";
  execution.fail("%s%s exceed max_recv_tokens_per_rank %zu", count.c_str(), what, plan.budget());
}

void HtUpdate::countFlat(HtExecution& execution) const {
  const Shape& shape = plan.shape();
  const int rank = plan.group->rank;
  const auto begin = static_cast<int32_t>(static_cast<size_t>(rank) * shape.local());
  std::vector<int64_t>& totals = execution.scratch().totals;
  totals.assign(shape.local(), 0);
  int64_t received = 0;
  execution.eachPresent([&](int source) {
    const Region from = execution.region(source);
    for (uint32_t i = from.first()[rank]; i < from.first()[rank + 1]; ++i) {
      if (received++ >= static_cast<int64_t>(plan.budget())) continue;  // dropped tokens count for no expert
      const RouteEntry& entry = from.entries()[i];
      for (uint32_t j = 0; j < entry.count; ++j) ++totals[static_cast<size_t>(from.ids()[entry.ids + j] - begin)];
    }
  });
  const int64_t kept = std::min(received, static_cast<int64_t>(plan.budget()));
  if (received > kept && !drops()) overflow(execution, "received tokens", received);
  if (expertCounters.data != nullptr) {
    for (size_t e = 0; e < shape.local(); ++e) expertCounters.set(e, totals[e]);
  }
  if (total.data != nullptr) total.set(0, received);
  plan.counters() = HtCounters{HtCounters::kMark, kept, kept, 0};
}

void HtUpdate::countExperts(HtExecution& execution) const {
  const Shape& shape = plan.shape();
  const int rank = plan.group->rank;
  const size_t local = shape.local();
  const size_t begin = static_cast<size_t>(rank) * local;
  const auto budget = static_cast<int64_t>(plan.budget());
  std::vector<int64_t>& totals = execution.scratch().totals;
  totals.assign(local, 0);
  int64_t received = 0;
  execution.eachPresent([&](int source) {
    const Region from = execution.region(source);
    received += from.first()[rank + 1] - from.first()[rank];
    for (size_t e = 0; e < local; ++e) totals[e] += from.expertTokens()[begin + e];
  });
  int64_t rows = 0;
  for (size_t e = 0; e < local; ++e) {
    plan.expertOffsets()[e] = rows;
    rows += padded(totals[e], plan.alignment);
  }
  if (!drops()) {
    if (plan.permutes() && received > budget) overflow(execution, "received tokens", received);
    const int64_t slack = plan.group->eager ? static_cast<int64_t>(local * (plan.alignment - 1)) : 0;
    if (rows > budget + slack) overflow(execution, "expert rows", rows);
  }
  for (size_t e = 0; e < local; ++e) {
    const int64_t offset = plan.expertOffsets()[e];
    const int64_t zone = padded(totals[e], plan.alignment);
    const int64_t kept = drops() ? std::min(zone, std::max<int64_t>(0, budget - offset)) : zone;
    if (expertCounters.data != nullptr) expertCounters.set(e, kept);
    if (expertOffsets.data != nullptr) expertOffsets.set(e, drops() ? std::min(offset, budget) : offset);
  }
  if (total.data != nullptr) total.set(0, rows);
  plan.counters() =
      HtCounters{HtCounters::kMark, std::min(received, budget), drops() ? std::min(rows, budget) : rows, 0};
  placeRows(execution);
}

// Gives every (token, expert) that comes here its row: the map from FLAT slots (LocalPermute), the groups of rows that
// belong to one token (LocalDup), and how many rows of each zone are in use.
void HtUpdate::placeRows(HtExecution& execution) const {
  const int rank = plan.group->rank;
  const size_t local = plan.shape().local();
  const auto begin = static_cast<int32_t>(static_cast<size_t>(rank) * local);
  const auto limit = static_cast<int64_t>(drops() ? plan.budget() : plan.keptRows(SIZE_MAX));
  const auto flatLimit = static_cast<int64_t>(plan.budget());
  const bool groups = plan.duplicates && plan.group->mode == ExpertMode::LocalDup;
  int32_t* const counts = plan.expertCounts();
  std::memset(counts, 0, local * sizeof(int32_t));
  std::vector<int64_t>& next = execution.scratch().totals;
  next.assign(plan.expertOffsets(), plan.expertOffsets() + local);
  int64_t flat = 0;
  execution.eachPresent([&](int source) {
    const Region from = execution.region(source);
    for (uint32_t i = from.first()[rank]; i < from.first()[rank + 1]; ++i, ++flat) {
      const RouteEntry& entry = from.entries()[i];
      int32_t* const mapped =
          plan.permutes() && flat < flatLimit ? plan.flatToExpert() + static_cast<size_t>(flat) * plan.topk : nullptr;
      if (mapped != nullptr) std::fill(mapped, mapped + plan.topk, -1);
      int32_t* const group =
          groups ? plan.groups() + static_cast<size_t>(plan.counters().groupCount) * plan.groupColumns() : nullptr;
      size_t keptHere = 0;
      int32_t firstKept = -1;
      for (uint32_t j = 0; j < entry.count; ++j) {
        const auto expert = static_cast<size_t>(from.ids()[entry.ids + j] - begin);
        const int64_t row = next[expert]++;
        if (row >= limit || (plan.permutes() && mapped == nullptr)) continue;
        ++counts[expert];
        if (mapped != nullptr) mapped[j] = static_cast<int32_t>(row);
        if (group == nullptr) continue;
        // The table has room for groups of two and more only: the first row is written together with the second.
        if (keptHere == 0) firstKept = static_cast<int32_t>(row);
        if (keptHere == 1) group[0] = firstKept;
        if (keptHere >= 1) group[keptHere] = static_cast<int32_t>(row);
        ++keptHere;
      }
      if (keptHere < 2) continue;
      if (keptHere < plan.groupColumns()) group[keptHere] = -1;
      ++plan.counters().groupCount;
    }
  });
}

}  // namespace emu::ep
