#include "ep/ht/combine_run.h"

#include <numeric>

#include "ep/ht/execution.h"
#include "ep/ht/lists.h"
#include "ep/numeric/reduce.h"
#include "ep/rows.h"

namespace emu::ep {

namespace {

constexpr size_t kMostDupExperts = 8;  // of one token on one rank
constexpr size_t kMostDupTopk = 32;

}  // namespace

void HtCombine::run(WorkContext& context) const {
  HtExecution execution(plan, Operation::Combine, Channel::Combine, context);
  execution.start(true);
  checkAddresses(execution);
  execution.awaitRegion();
  stage(execution);
  execution.postToAll();
  execution.receiveFromAll([&](int source) { execution.checkSource(source); });
  reduce(execution);
  if (backward) returnGradients(execution);
}

void HtCombine::checkAddresses(Execution& execution) const {
  const size_t columns = plan.expertMajor ? 1 : plan.topk;
  const size_t rows = std::min(inRows, plan.group->ht.regions.stagedRows);
  execution.bytes("handle memory", plan.block, plan.parts.bytes);
  execution.rows("inputs.tokens", in, rows * rowBytes);
  if (backward) execution.elements("inputs.topk_weights", inWeights, rows * columns);
  execution.rows("outputs.tokens", out, plan.tokens * rowBytes);
  if (backward) execution.elements("outputs.topk_weights", outWeights, plan.tokens * plan.topk);
}

// Puts the rows that go home into this rank's region.
void HtCombine::stage(HtExecution& execution) const {
  const Region region = execution.mine();
  MoveHeader& header = region.move();
  header = plan.moveHeader(rowBytes, backward);
  header.tokensWindow = tokensWindow;
  if (plan.duplicates) return stageExperts(execution, region);
  plan.expertMajor ? stagePermuted(execution, region) : stageFlat(execution, region);
}

void HtCombine::stageFlat(Execution& execution, const Region& region) const {
  const size_t rows = plan.keptTokens(plan.group->ht.regions.stagedRows);
  if (rows > inRows) execution.undefined("inputs.tokens has %zu rows, %zu slots are in use", inRows, rows);
  const RowCopier copier(rows * rowBytes, plan.shape().ranks);
  for (size_t row = 0; row < rows; ++row) copier.copy(region.combineRow(row), in + row * rowBytes, rowBytes);
  if (backward) {
    for (size_t row = 0; row < rows; ++row) {
      std::copy_n(inWeights + row * plan.topk, gradientColumns(), region.gradients() + row * gradientColumns());
    }
  }
  region.move().tokens = static_cast<uint32_t>(rows);
}

// LocalPermute: a token's expert rows are added up here, rounded, and go home in FLAT order.
void HtCombine::stagePermuted(Execution& execution, const Region& region) const {
  const size_t tokens = plan.keptTokens(std::min(plan.budget(), plan.group->ht.regions.stagedRows));
  const void* rows[32];
  const RowCopier copier(tokens * rowBytes, plan.shape().ranks);
  for (size_t slot = 0; slot < tokens; ++slot) {
    const int32_t* const mapped = plan.flatToExpert() + slot * plan.topk;
    size_t n = 0;
    for (size_t j = 0; j < plan.topk; ++j) {
      if (backward && j < gradientColumns()) region.gradients()[slot * gradientColumns() + j] = 0.0f;
      if (mapped[j] < 0) continue;
      const auto row = static_cast<size_t>(mapped[j]);
      if (row >= inRows) execution.fail("inputs.tokens has %zu rows, %zu slots are in use", inRows, row + 1);
      rows[n++] = in + row * rowBytes;
      if (backward && j < gradientColumns()) region.gradients()[slot * gradientColumns() + j] = inWeights[row];
    }
    if (n == 1) {
      copier.copy(region.combineRow(slot), rows[0], rowBytes);  // home starts from +0 anyway
    } else {
      sumRows(type, rows, nullptr, n, elements, region.combineRow(slot));
    }
  }
  region.move().tokens = static_cast<uint32_t>(tokens);
}

// dup modes: every expert row goes home as it is, but LocalDup adds up a token's rows in its first one before.
void HtCombine::stageExperts(HtExecution& execution, const Region& region) const {
  const size_t rows = plan.keptRows(std::min(plan.budget(), plan.group->ht.regions.stagedRows));
  if (rows > inRows) execution.undefined("inputs.tokens has %zu rows, %zu slots are in use", inRows, rows);
  std::vector<unsigned char>& skipped = execution.scratch().marks;
  skipped.assign(rows, 0);
  if (localDup()) addUpGroups(execution, region, rows);
  const RowCopier copier(rows * rowBytes, plan.shape().ranks);
  for (size_t row = 0; row < rows; ++row) {
    if (skipped[row] == 0) copier.copy(region.combineRow(row), in + row * rowBytes, rowBytes);
  }
  if (backward) std::copy_n(inWeights, rows, region.gradients());
  region.move().tokens = static_cast<uint32_t>(rows);
}

void HtCombine::addUpGroups(HtExecution& execution, const Region& region, size_t rows) const {
  if (plan.topk > kMostDupTopk) execution.fail("num_topk %zu is above %zu", plan.topk, kMostDupTopk);
  std::vector<unsigned char>& skipped = execution.scratch().marks;
  const auto groups = static_cast<size_t>(plan.hasMaps() ? std::max<int64_t>(0, plan.counters().groupCount) : 0);
  for (size_t g = 0; g < std::min(groups, plan.budget() / 2); ++g) {
    const int32_t* const slots = plan.groups() + g * plan.groupColumns();
    const void* members[kMostDupExperts];
    size_t n = 0;
    for (size_t j = 0; j < plan.groupColumns() && slots[j] >= 0; ++j) {
      const auto row = static_cast<size_t>(slots[j]);
      if (row >= rows) execution.fail("the handle memory was overwritten");
      if (n == kMostDupExperts) execution.fail("a token has more than %zu experts here", kMostDupExperts);
      members[n++] = in + row * rowBytes;
      skipped[row] = 1;
    }
    if (n == 0) continue;
    const auto primary = static_cast<size_t>(slots[0]);
    sumRows(type, members, nullptr, n, elements, region.combineRow(primary));
    if (tokensWindow != 0) std::memcpy(in + primary * rowBytes, region.combineRow(primary), rowBytes);
  }
}

// The staged rows that make up a token, by rank ascending; how many of them each team has.
size_t HtCombine::contributions(const HtExecution& execution, size_t token, const void** rows, size_t* ofTeam) const {
  size_t n = 0;
  const Topology& topology = plan.group->topology;
  std::fill(ofTeam, ofTeam + topology.teams(), size_t{0});
  const auto add = [&](size_t source, size_t slot) {
    if (!execution.present(source)) return;
    const Region from = execution.region(static_cast<int>(source));
    if (slot >= from.move().tokens) return;
    rows[n++] = from.combineRow(slot);
    ++ofTeam[topology.teamOf(static_cast<int>(source))];
  };
  const size_t columns = plan.slotColumns();
  const int32_t* const slots = plan.slotMap() + token * columns;
  if (!plan.duplicates) {
    for (size_t d = 0; d < columns; ++d) {
      if (slots[d] >= 0) add(d, static_cast<size_t>(slots[d]));
    }
    return n;
  }
  size_t last = SIZE_MAX;
  for (size_t j = 0; j < columns; ++j) {
    if (slots[j] < 0) continue;
    const size_t source = packedRank(slots[j]);
    if (source >= plan.shape().ranks || (localDup() && source == last)) continue;
    last = source;
    add(source, packedSlot(slots[j]));
  }
  return n;
}

// Every other team sends one row, the rounded sum of its own. The own team's rows come first, then the teams before
// this one, then those behind it, downwards.
size_t HtCombine::addUpTeams(HtState::Scratch& scratch) const {
  const auto teams = static_cast<size_t>(plan.group->topology.teams());
  const auto own = static_cast<size_t>(plan.group->topology.teamOf(plan.group->rank));
  scratch.partials.resize(teams * rowBytes);
  scratch.terms.clear();
  const void** const rows = scratch.rows.data();
  const auto ofTeam = [&](size_t team) {
    return rows + std::accumulate(scratch.ofTeam.begin(), scratch.ofTeam.begin() + static_cast<std::ptrdiff_t>(team),
                                  size_t{0});
  };
  scratch.terms.assign(ofTeam(own), ofTeam(own) + scratch.ofTeam[own]);
  for (size_t n = 1; n < teams; ++n) {
    const size_t team = (own + teams - n) % teams;
    if (scratch.ofTeam[team] == 0) continue;
    unsigned char* const partial = scratch.partials.data() + team * rowBytes;
    sumRows(type, ofTeam(team), nullptr, scratch.ofTeam[team], elements, partial);
    scratch.terms.push_back(partial);
  }
  std::copy(scratch.terms.begin(), scratch.terms.end(), rows);
  return scratch.terms.size();
}

void HtCombine::reduce(const HtExecution& execution) const {
  HtState::Scratch& scratch = execution.scratch();
  scratch.rows.resize(plan.slotColumns());
  scratch.ofTeam.resize(static_cast<size_t>(plan.group->topology.teams()));
  for (size_t t = 0; t < plan.tokens; ++t) {
    size_t n = plan.hasMaps() ? contributions(execution, t, scratch.rows.data(), scratch.ofTeam.data()) : 0;
    if (n > 0 && scratch.ofTeam.size() > 1) n = addUpTeams(scratch);
    sumRows(type, scratch.rows.data(), nullptr, n, elements, out + t * rowBytes);
  }
}

// Each gradient of a (token, expert) pair goes to every position that names the expert.
void HtCombine::returnGradients(HtExecution& execution) const {
  HtState::Scratch& scratch = execution.scratch();
  const size_t columns = plan.topk;
  std::fill(outWeights, outWeights + plan.tokens * columns, 0.0f);
  if (!plan.hasMaps()) return;
  const ExpertCheck routed = plan.distinctExperts(scratch);
  const RoutingReader reader(plan.routingCopy(), plan.wideRouting);
  eachDestination(plan, scratch, [&](size_t destination, const RouteEntry& entry) {
    if (!execution.present(destination)) return;
    const Region from = execution.region(static_cast<int>(destination));
    for (uint32_t j = 0; j < entry.count; ++j) {
      int32_t slot = -1;
      size_t at = 0;
      if (plan.duplicates) {
        slot = plan.slotMap()[entry.token * columns + entry.ids + j - scratch.idsFrom[entry.token]];
        if (slot >= 0) slot = static_cast<int32_t>(packedSlot(slot));
        at = static_cast<size_t>(slot);
      } else {
        slot = plan.slotMap()[entry.token * plan.shape().ranks + destination];
        at = static_cast<size_t>(slot) * gradientColumns() + j;
      }
      if (slot < 0 || static_cast<size_t>(slot) >= from.move().tokens) continue;
      const int32_t expert = scratch.ids[entry.ids + j];
      for (size_t k = 0; k < columns; ++k) {
        if (reader.at(entry.token * columns + k) == expert) {
          outWeights[entry.token * columns + k] = from.gradients()[at];
        }
      }
    }
  });
  routed.finish(execution);
}

}  // namespace emu::ep
