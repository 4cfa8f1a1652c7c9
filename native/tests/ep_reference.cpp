#include "ep_reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace ep_test {

namespace {

// A format of 16 bits: `mantissa` stored bits, least exponent of a normal number, largest finite value.
struct Format16 {
  int mantissa;
  int leastExponent;
  double largest;
};

Format16 formatOf(ncclDataType_t type) {
  return type == ncclBfloat16 ? Format16{7, -126, 3.3895313892515355e38} : Format16{10, -14, 65504.0};
}

double nearest(const Format16& format, double value) {
  if (value == 0.0 || !std::isfinite(value)) return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int unit = std::max(exponent - 1, format.leastExponent) - format.mantissa;
  const double result = std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
  return std::fabs(result) > format.largest ? std::copysign(INFINITY, value) : result;
}

}  // namespace

float rounded(ncclDataType_t type, float value) {
  return type == ncclFloat32 ? value : static_cast<float>(nearest(formatOf(type), value));
}

void encode(ncclDataType_t type, float value, unsigned char* element) {
  if (type == ncclFloat32) {
    std::memcpy(element, &value, 4);
    return;
  }
  const Format16 format = formatOf(type);
  const double exact = nearest(format, value);
  uint16_t bits = std::signbit(exact) ? 0x8000 : 0;
  const double magnitude = std::fabs(exact);
  if (std::isinf(magnitude)) {
    bits |= static_cast<uint16_t>(type == ncclBfloat16 ? 0x7f80 : 0x7c00);
  } else if (magnitude != 0.0) {
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    const int biased = std::max(exponent - 1, format.leastExponent);
    const auto steps = static_cast<uint32_t>(std::ldexp(magnitude, format.mantissa - biased));
    // A normal number's leading bit counts as one step of the exponent field.
    bits |= static_cast<uint16_t>((static_cast<uint32_t>(biased - format.leastExponent) << format.mantissa) + steps);
  }
  std::memcpy(element, &bits, 2);
}

float decode(ncclDataType_t type, const unsigned char* element) {
  if (type == ncclFloat32) {
    float value;
    std::memcpy(&value, element, 4);
    return value;
  }
  const Format16 format = formatOf(type);
  uint16_t bits;
  std::memcpy(&bits, element, 2);
  const uint32_t field = (bits & 0x7fffu) >> format.mantissa;
  const uint32_t mantissa = bits & ((1u << format.mantissa) - 1);
  const uint32_t largestField = type == ncclBfloat16 ? 0xff : 0x1f;
  double value;
  if (field == largestField) {
    value = mantissa != 0 ? NAN : INFINITY;
  } else if (field == 0) {
    value = std::ldexp(mantissa, format.leastExponent - format.mantissa);
  } else {
    value = std::ldexp(mantissa + (1u << format.mantissa), static_cast<int>(field) - 1 + format.leastExponent - format.mantissa);
  }
  return static_cast<float>((bits & 0x8000) != 0 ? -value : value);
}

std::string Case::describe() const {
  const char* const layouts[] = {"unset", "EM", "RM", "FLAT"};
  const char* const modes[] = {"permute", "local-dup", "nvlink-dup"};
  return std::string(ll ? "LL " : "HT ") + layouts[layout] + " " + modes[static_cast<int>(mode)] + " R=" + std::to_string(ranks) +
         " E=" + std::to_string(experts) + " K=" + std::to_string(topk) + " B=" + std::to_string(maxTokens) +
         " M=" + std::to_string(maxReceive) + " H=" + std::to_string(hidden) + " type=" + std::to_string(type) +
         " id=" + std::to_string(idType) + " align=" + std::to_string(alignment) + (drop ? " drop" : "") + (globalIds ? " global" : "");
}

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
      for (size_t h = 0; h < facts.hidden; ++h) input.rows.push_back(rounded(facts.type, value(random)));
    }
    world.inputs.push_back(std::move(input));
  }
  return world;
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
        if (id >= 0 && id / facts.local() == rank) zones[id % facts.local()].push_back({s, t, {id}, {world.weight(s, t, k)}});
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
  for (size_t i = 0; i < arrival.experts.size(); ++i) sum += arrival.weights[i] * expertValue(facts, arrival.experts[i], x);
  return rounded(facts.type, sum);
}

}  // namespace

std::vector<float> llCombined(const World& world, int rank, size_t token, const std::vector<bool>& dead) {
  const Case& facts = world.facts;
  std::vector<float> result(facts.hidden);
  const auto gone = [&](int64_t id) { return !dead.empty() && dead[static_cast<size_t>(id / facts.local())]; };
  for (size_t h = 0; h < facts.hidden; ++h) {
    const float x = world.x(rank, token, h);
    float sum = 0.0f;
    std::set<int64_t> ranksSeen;
    for (int k = 0; k < facts.topk; ++k) {
      const int64_t id = world.id(rank, token, k);
      if (id < 0 || gone(id)) continue;
      if (facts.expertMajor()) {
        sum = std::fma(expertValue(facts, id, x), world.weight(rank, token, k), sum);
        continue;
      }
      const int64_t destination = id / facts.local();
      if (!ranksSeen.insert(destination).second) continue;
      Arrival arrival{rank, token, {}, {}};
      for (int j = 0; j < facts.topk; ++j) {
        const int64_t other = world.id(rank, token, j);
        if (other < 0 || other / facts.local() != destination) continue;
        arrival.experts.push_back(other);
        arrival.weights.push_back(world.weight(rank, token, j));
      }
      sum += preReduced(facts, arrival, x);
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
  for (int64_t e = static_cast<int64_t>(rank) * facts.local(); e < static_cast<int64_t>(rank + 1) * facts.local(); ++e) {
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
    if (kept) layout.flat.push_back(all[i]);
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
      if (row < rows && !flatDropped) layout.rows[row] = Arrival{all[i].source, all[i].token, {all[i].experts[j]}, {all[i].weights[j]}};
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
  for (size_t i = 0; i < layout.flat.size(); ++i) {
    if (layout.flat[i].source == source && layout.flat[i].token == token) return static_cast<int64_t>(i);
  }
  return -1;
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
    for (const auto& row : layout.rows) {
      if (row && row->source == rank && row->token == token) kept[d].push_back({row->experts[0], row->weights[0]});
    }
    std::sort(kept[d].begin(), kept[d].end());
  }
  std::vector<float> result(facts.hidden);
  for (size_t h = 0; h < facts.hidden; ++h) {
    const float x = world.x(rank, token, h);
    float sum = 0.0f;
    for (int d = 0; d < facts.ranks; ++d) {
      if (kept[d].empty()) continue;
      if (!facts.expertMajor()) {
        sum += preReduced(facts, arrivalAt(world, rank, token, d), x);
        continue;
      }
      float here = 0.0f;
      for (const auto& [expert, weight] : kept[d]) {
        const float row = rounded(facts.type, weight * expertValue(facts, expert, x));
        if (facts.mode == Mode::NvlinkDup) {
          sum += row;
        } else {
          here += row;
        }
      }
      if (facts.mode != Mode::NvlinkDup) sum += rounded(facts.type, here);
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
    if (tooMany(r)) return true;
  }
  return false;
}

}  // namespace ep_test
