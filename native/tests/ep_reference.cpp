#include "ep_reference.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace ep_test {

float Case::received(const unsigned char* row, size_t column) const {
  if (recipe == NCCL_EP_DISP_QUANT_DS_FP8E3M4) return decodeE4m3(row[column]);
  return decode(receivedType(), row + column * bytesOf(receivedType()));
}

std::string Case::describe() const {
  const char* const layouts[] = {"unset", "EM", "RM", "FLAT"};
  const char* const modes[] = {"permute", "local-dup", "nvlink-dup"};
  return std::string(ll ? "LL " : "HT ") + layouts[layout] + " " + modes[static_cast<int>(mode)] +
         " R=" + std::to_string(ranks) + (teams == 1 ? "" : "/" + std::to_string(teams)) +
         " E=" + std::to_string(experts) + " K=" + std::to_string(topk) +
         " B=" + std::to_string(maxTokens) + " M=" + std::to_string(maxReceive) + " H=" + std::to_string(hidden) +
         " type=" + std::to_string(type) + " id=" + std::to_string(idType) + " align=" + std::to_string(alignment) +
         (drop ? " drop" : "") + (globalIds ? " global" : "") +
         (recipe == NCCL_EP_DISP_QUANT_NONE
              ? ""
              : " recipe=" + std::to_string(recipe) + " wire=" + std::to_string(wire) +
                    " scales=" + std::to_string(scaleType) + "x" + std::to_string(scaleWidth)) +
         (zeroCopy ? " zero-copy" : "") + (shortStructs ? " short structs" : "") + (release020 ? " 0.2.0" : "");
}

namespace {

// One row with its bytes before and after, and its scales.
void drawRow(const Case& facts, std::mt19937_64& random, Input& input) {
  std::uniform_real_distribution<float> value(-4.0f, 4.0f);
  std::vector<float> row(facts.hidden);
  for (float& x : row) x = rounded(facts.sentType(), value(random));
  const size_t at = input.sent.size(), unit = bytesOf(facts.sentType());
  input.sent.resize(at + facts.sentBytes());
  for (size_t h = 0; h < facts.hidden; ++h) encode(facts.sentType(), row[h], input.sent.data() + at + h * unit);
  if (facts.recipe == NCCL_EP_DISP_QUANT_DS_FP8E3M4) {
    const BlockScaled scaled = toBlockScaled(row, facts.roundScales);
    input.arrived.insert(input.arrived.end(), scaled.values.begin(), scaled.values.end());
    const auto* const factors = reinterpret_cast<const unsigned char*>(scaled.factors.data());
    input.scales.insert(input.scales.end(), factors, factors + scaled.factors.size() * sizeof(float));
    for (size_t h = 0; h < facts.hidden; ++h) row[h] = decodeE4m3(scaled.values[h]);
  } else {
    input.arrived.insert(input.arrived.end(), input.sent.begin() + static_cast<std::ptrdiff_t>(at), input.sent.end());
    for (size_t i = 0; i < facts.scaleBytes(); ++i) input.scales.push_back(static_cast<unsigned char>(random()));
  }
  input.rows.insert(input.rows.end(), row.begin(), row.end());
}

}  // namespace

World randomWorld(const Case& facts, std::mt19937_64& random, bool duplicates, double skew) {
  World world;
  world.facts = facts;
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  std::uniform_real_distribution<float> value(-4.0f, 4.0f);
  for (int r = 0; r < facts.ranks; ++r) {
    Input input;
    const double shape = unit(random);
    input.tokens = shape < 0.1 ? 0 : shape < 0.3 ? facts.maxTokens : random() % (facts.maxTokens + 1);
    for (size_t t = 0; t < input.tokens; ++t) {
      std::set<int64_t> seen;
      for (int k = 0; k < facts.topk; ++k) {
        auto id = static_cast<int64_t>(std::pow(unit(random), skew) * facts.experts);
        id = std::min<int64_t>(id, facts.experts - 1);
        if (unit(random) < 0.1 || (!duplicates && !seen.insert(id).second)) id = -1;
        input.ids.push_back(id);
        input.weights.push_back(value(random));
      }
      drawRow(facts, random, input);
    }
    world.inputs.push_back(std::move(input));
  }
  return world;
}

void encodeRows(World& world) {
  const size_t unit = bytesOf(world.facts.type);
  for (Input& input : world.inputs) {
    input.sent.resize(input.rows.size() * unit);
    for (size_t i = 0; i < input.rows.size(); ++i) {
      encode(world.facts.type, input.rows[i], input.sent.data() + i * unit);
    }
    input.arrived = input.sent;
  }
}

void pad(World& world) {
  const Case& facts = world.facts;
  std::mt19937_64 random(facts.maxTokens);
  for (Input& input : world.inputs) {
    for (; input.tokens < facts.maxTokens; ++input.tokens) {
      input.ids.insert(input.ids.end(), static_cast<size_t>(facts.topk), -1);
      input.weights.insert(input.weights.end(), static_cast<size_t>(facts.topk), 0.5f);
      drawRow(facts, random, input);
    }
  }
}

float expertValue(const Case& facts, int64_t expert, float x) {
  return rounded(facts.type, x * (0.5f + 0.375f * static_cast<float>(expert % 11)));
}

std::vector<std::vector<Arrival>> llZones(const World& world, int rank) {
  const Case& facts = world.facts;
  std::vector<std::vector<Arrival>> zones(static_cast<size_t>(facts.local()));
  for (int s = 0; s < facts.ranks; ++s) {
    for (size_t t = 0; t < world.inputs[s].tokens; ++t) {
      for (int k = 0; k < facts.topk; ++k) {
        const int64_t id = world.id(s, t, k);
        if (id >= 0 && id / facts.local() == rank) {
          zones[id % facts.local()].push_back({s, t, {id}, {world.weight(s, t, k)}});
        }
      }
    }
  }
  return zones;
}

std::vector<std::vector<Arrival>> llSources(const World& world, int rank) {
  const Case& facts = world.facts;
  std::vector<std::vector<Arrival>> sources(static_cast<size_t>(facts.ranks));
  for (int s = 0; s < facts.ranks; ++s) {
    for (size_t t = 0; t < world.inputs[s].tokens; ++t) {
      Arrival arrival{s, t, {}, {}};
      for (int k = 0; k < facts.topk; ++k) {
        const int64_t id = world.id(s, t, k);
        if (id < 0 || id / facts.local() != rank) continue;
        arrival.experts.push_back(id);
        arrival.weights.push_back(world.weight(s, t, k));
      }
      if (!arrival.experts.empty()) sources[s].push_back(arrival);
    }
  }
  return sources;
}

namespace {

// A rank's own sum over its experts, as a caller of RANK_MAJOR or FLAT makes it.
float preReduced(const Case& facts, const Arrival& arrival, float x) {
  float sum = 0.0f;
  for (size_t i = 0; i < arrival.experts.size(); ++i) {
    sum += arrival.weights[i] * expertValue(facts, arrival.experts[i], x);
  }
  return rounded(facts.type, sum);
}

}  // namespace

std::vector<float> llCombined(const World& world, int rank, size_t token, const std::vector<bool>& dead) {
  const Case& facts = world.facts;
  // EXPERT_MAJOR: one term per position; RANK_MAJOR: one per rank, where the first position names it, with all that
  // name it.
  std::vector<Arrival> terms;
  for (int k = 0; k < facts.topk; ++k) {
    const int64_t id = world.id(rank, token, k);
    if (id < 0 || (!dead.empty() && dead[static_cast<size_t>(id / facts.local())])) continue;
    const auto here = std::find_if(terms.begin(), terms.end(), [&](const Arrival& term) {
      return !facts.expertMajor() && term.experts[0] / facts.local() == id / facts.local();
    });
    Arrival& term = here != terms.end() ? *here : terms.emplace_back(Arrival{rank, token, {}, {}});
    term.experts.push_back(id);
    term.weights.push_back(world.weight(rank, token, k));
  }
  std::vector<float> result(facts.hidden);
  for (size_t h = 0; h < facts.hidden; ++h) {
    const float x = world.x(rank, token, h);
    float sum = 0.0f;
    for (const Arrival& term : terms) {
      if (facts.expertMajor()) {
        sum = std::fma(expertValue(facts, term.experts[0], x), term.weights[0], sum);
      } else {
        sum += preReduced(facts, term, x);
      }
    }
    result[h] = rounded(facts.type, sum);
  }
  return result;
}

namespace {

// The distinct experts of a token on a rank, ascending, with the weight of the last position that names each.
Arrival arrivalAt(const World& world, int source, size_t token, int rank) {
  const Case& facts = world.facts;
  Arrival arrival{source, token, {}, {}};
  for (int64_t e = static_cast<int64_t>(rank) * facts.local(); e < static_cast<int64_t>(rank + 1) * facts.local();
       ++e) {
    for (int k = facts.topk - 1; k >= 0; --k) {
      if (world.id(source, token, k) != e) continue;
      arrival.experts.push_back(e);
      arrival.weights.push_back(world.weight(source, token, k));
      break;
    }
  }
  return arrival;
}

int64_t budgetOf(const Case& facts) {
  if (facts.maxReceive > 0) return static_cast<int64_t>(facts.maxReceive);
  return static_cast<int64_t>(facts.ranks) * static_cast<int64_t>(facts.maxTokens) * facts.topk;
}

int64_t paddedTo(size_t alignment, int64_t count) {
  const auto unit = static_cast<int64_t>(alignment);
  return (count + unit - 1) / unit * unit;
}

}  // namespace

bool namesWith(const World& world, int source, size_t token, int64_t expert, float weight) {
  for (int k = 0; k < world.facts.topk; ++k) {
    if (world.id(source, token, k) == expert && world.weight(source, token, k) == weight) return true;
  }
  return false;
}

HtLayout htLayout(const World& world, int rank) {
  const Case& facts = world.facts;
  const int64_t budget = budgetOf(facts);
  HtLayout layout;
  layout.tokensOf.assign(static_cast<size_t>(facts.local()), 0);
  std::vector<Arrival> all;
  for (int s = 0; s < facts.ranks; ++s) {
    for (size_t t = 0; t < world.inputs[s].tokens; ++t) {
      Arrival arrival = arrivalAt(world, s, t, rank);
      if (!arrival.experts.empty()) all.push_back(arrival);
    }
  }
  layout.received = static_cast<int64_t>(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const bool kept = static_cast<int64_t>(i) < budget;
    if (kept) {
      layout.slots[{all[i].source, all[i].token}] = static_cast<int64_t>(i);
      layout.flat.push_back(all[i]);
    }
    if (!kept && !facts.expertMajor()) continue;
    for (const int64_t e : all[i].experts) ++layout.tokensOf[e % facts.local()];
  }
  if (!facts.expertMajor()) return layout;

  for (int e = 0; e < facts.local(); ++e) {
    layout.offsets.push_back(layout.total);
    layout.zones.push_back(paddedTo(facts.alignment, layout.tokensOf[e]));
    layout.total += layout.zones.back();
  }
  const int64_t rows = facts.drop ? std::min(layout.total, budget) : layout.total;
  layout.rows.resize(static_cast<size_t>(rows));
  std::vector<int64_t> next = layout.offsets;
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < all[i].experts.size(); ++j) {
      const int64_t row = next[all[i].experts[j] % facts.local()]++;
      const bool flatDropped = facts.mode == Mode::Permute && static_cast<int64_t>(i) >= budget;
      if (row >= rows || flatDropped) continue;
      layout.rows[row] = Arrival{all[i].source, all[i].token, {all[i].experts[j]}, {all[i].weights[j]}};
      layout.kept[{all[i].source, all[i].token}].push_back({all[i].experts[j], all[i].weights[j]});
    }
  }
  return layout;
}

std::vector<HtLayout> htLayouts(const World& world) {
  std::vector<HtLayout> layouts;
  for (int r = 0; r < world.facts.ranks; ++r) layouts.push_back(htLayout(world, r));
  return layouts;
}

int64_t flatSlot(const HtLayout& layout, int source, size_t token) {
  const auto found = layout.slots.find({source, token});
  return found == layout.slots.end() ? -1 : found->second;
}

std::vector<float> htCombined(const World& world, const std::vector<HtLayout>& layouts, int rank, size_t token) {
  const Case& facts = world.facts;
  // Per rank the contributions of the token's kept rows there, as the experts made them.
  std::vector<std::vector<std::pair<int64_t, float>>> kept(static_cast<size_t>(facts.ranks));
  for (int d = 0; d < facts.ranks; ++d) {
    const HtLayout& layout = layouts[d];
    if (!facts.expertMajor()) {
      if (flatSlot(layout, rank, token) >= 0) kept[d].push_back({-1, 0.0f});
      continue;
    }
    const auto found = layout.kept.find({rank, token});
    if (found != layout.kept.end()) kept[d] = found->second;
  }
  std::vector<Arrival> at(static_cast<size_t>(facts.ranks));
  for (int d = 0; d < facts.ranks && !facts.expertMajor(); ++d) at[d] = arrivalAt(world, rank, token, d);
  // What a rank's rows add to a sum.
  const auto add = [&](int d, float x, float sum) {
    if (kept[d].empty()) return sum;
    if (!facts.expertMajor()) return sum + preReduced(facts, at[d], x);
    float here = 0.0f;
    for (const auto& [expert, weight] : kept[d]) {
      const float row = rounded(facts.type, weight * expertValue(facts, expert, x));
      if (facts.mode == Mode::NvlinkDup) {
        sum += row;
      } else {
        here += row;
      }
    }
    return facts.mode == Mode::NvlinkDup ? sum : sum + rounded(facts.type, here);
  };
  const int size = facts.ranks / facts.teams;
  const auto addTeam = [&](int team, float x, float sum) {
    for (int d = team * size; d < (team + 1) * size; ++d) sum = add(d, x, sum);
    return sum;
  };
  const int own = facts.teamOf(rank);
  std::vector<float> result(facts.hidden);
  for (size_t h = 0; h < facts.hidden; ++h) {
    const float x = world.x(rank, token, h);
    float sum = addTeam(own, x, 0.0f);
    // Each other team sends its own sum, rounded; they come in falling order from the own team on, round the end.
    for (int n = 1; n < facts.teams; ++n) {
      sum += rounded(facts.type, addTeam((own - n + facts.teams) % facts.teams, x, 0.0f));
    }
    result[h] = rounded(facts.type, sum);
  }
  return result;
}

bool overflows(const World& world, int rank) {
  const Case& facts = world.facts;
  if (facts.maxReceive == 0 || facts.drop) return false;
  const auto budget = static_cast<int64_t>(facts.maxReceive);
  const auto tooMany = [&](int r) {
    const HtLayout layout = htLayout(world, r);
    if (facts.expertMajor() && facts.mode != Mode::Permute) return layout.total > budget;
    return layout.received > budget || (facts.expertMajor() && layout.total > budget);
  };
  if (facts.mode == Mode::Permute || !facts.expertMajor()) return tooMany(rank);
  for (int r = 0; r < facts.ranks; ++r) {
    if (facts.teamOf(r) == facts.teamOf(rank) && tooMany(r)) return true;
  }
  return false;
}

}  // namespace ep_test
