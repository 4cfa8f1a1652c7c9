// What a step must have written, and what it must not.
#include <algorithm>

#include "ep_round.h"

namespace ep_test {

bool Round::sameRow(size_t row, const World& world, const Arrival& arrival) const {
  const Input& input = world.inputs[arrival.source];
  const size_t bytes = facts_.receivedBytes(), scales = facts_.scaleBytes();
  return std::memcmp(received_->raw<unsigned char>() + row * bytes, input.arrived.data() + arrival.token * bytes, bytes) == 0 &&
         (scales == 0 || std::memcmp(receivedScales_->raw<unsigned char>() + row * scales, input.scales.data() + arrival.token * scales, scales) == 0);
}

bool Round::isSpoiled(const Tensor& tensor, size_t fromByte, size_t bytes) const {
  const unsigned char* const from = tensor.raw<unsigned char>() + fromByte;
  return std::all_of(from, from + bytes, [](unsigned char byte) { return byte == kSpoilt; });
}

bool Round::isZero(const Tensor& tensor, size_t fromByte, size_t bytes) const {
  const unsigned char* const from = tensor.raw<unsigned char>() + fromByte;
  return std::all_of(from, from + bytes, [](unsigned char byte) { return byte == 0; });
}

void Round::expectRowsSpoiled(size_t from, size_t count) const {
  ASSERT_TRUE(isSpoiled(*received_, from * facts_.receivedBytes(), count * facts_.receivedBytes())) << facts_.describe() << " from row " << from;
  if (!receivedScales_) return;
  ASSERT_TRUE(isSpoiled(*receivedScales_, from * facts_.scaleBytes(), count * facts_.scaleBytes())) << facts_.describe() << " from row " << from;
}

void Round::check(const World& world) {
  checkDispatch(world);
  checkCombine(world);
}

void Round::checkDispatch(const World& world) {
  if (facts_.ll) {
    facts_.expertMajor() ? checkLlExpertMajor(world) : checkLlRankMajor(world);
  } else {
    facts_.expertMajor() ? checkHtExpertMajor(world) : checkHtFlat(world);
  }
}

// 5.2: zone e holds one row per (token, k); unused rows are untouched.
void Round::checkLlExpertMajor(const World& world) {
  const auto zones = llZones(world, rank_.rank);
  const size_t zoneRows = static_cast<size_t>(facts_.ranks) * facts_.maxTokens;
  for (size_t e = 0; e < zones.size(); ++e) {
    std::vector<Arrival> expected;
    for (const Arrival& arrival : zones[e]) {
      if (options_.dead.empty() || !options_.dead[arrival.source]) expected.push_back(arrival);
    }
    ASSERT_EQ(static_cast<int64_t>(expected.size()), integerAt(*counters_, e)) << facts_.describe() << " rank " << rank_.rank;
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto found = std::find_if(expected.begin() + static_cast<std::ptrdiff_t>(i), expected.end(),
                                      [&](const Arrival& arrival) { return sameRow(e * zoneRows + i, world, arrival); });
      ASSERT_NE(expected.end(), found) << facts_.describe() << " rank " << rank_.rank << " expert " << e << " row " << i;
      if (!options_.anyOrder) {
        ASSERT_TRUE(sameRow(e * zoneRows + i, world, expected[i])) << facts_.describe() << " expert " << e << " row " << i;
      }
      std::iter_swap(found, expected.begin() + static_cast<std::ptrdiff_t>(i));
    }
    expectRowsSpoiled(e * zoneRows + expected.size(), zoneRows - expected.size());
  }
}

// 5.2: source s has its own rows; ids keep their k, weights of every k, unused ids are -1, other unused rows untouched.
void Round::checkLlRankMajor(const World& world) {
  const auto sources = llSources(world, rank_.rank);
  const auto k = static_cast<size_t>(facts_.topk);
  for (size_t s = 0; s < sources.size(); ++s) {
    std::vector<Arrival> expected = sources[s];
    if (!options_.dead.empty() && options_.dead[s]) expected.clear();
    ASSERT_EQ(static_cast<int64_t>(expected.size()), integerAt(*counters_, s)) << facts_.describe();
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t row = s * facts_.maxTokens + i;
      const auto found = std::find_if(expected.begin() + static_cast<std::ptrdiff_t>(i), expected.end(),
                                      [&](const Arrival& arrival) { return sameRow(row, world, arrival); });
      ASSERT_NE(expected.end(), found) << facts_.describe();
      if (!options_.anyOrder) {
        ASSERT_TRUE(sameRow(row, world, expected[i])) << facts_.describe();
      }
      std::iter_swap(found, expected.begin() + static_cast<std::ptrdiff_t>(i));
      for (size_t j = 0; j < k; ++j) {
        const int64_t id = world.id(static_cast<int>(s), expected[i].token, j);
        const bool here = id >= 0 && id / facts_.local() == rank_.rank;
        ASSERT_EQ(here ? id : -1, receivedId(row * k + j)) << facts_.describe();
        ASSERT_EQ(world.weight(static_cast<int>(s), expected[i].token, j), receivedWeights_->raw<float>()[row * k + j]);
      }
    }
    const size_t from = s * facts_.maxTokens + expected.size(), count = facts_.maxTokens - expected.size();
    expectRowsSpoiled(from, count);
    ASSERT_TRUE(isSpoiled(*receivedWeights_, from * k * sizeof(float), count * k * sizeof(float))) << facts_.describe();
    for (size_t i = from * k; i < (from + count) * k; ++i) {
      ASSERT_EQ(-1, receivedIds_->raw<int32_t>()[i]) << facts_.describe();
    }
  }
}

// 4.5 and 5.5.1.
void Round::checkHtFlat(const World& world) {
  const HtLayout layout = layoutOf(world);
  const auto k = static_cast<size_t>(facts_.topk);
  ASSERT_EQ(layout.received, integerAt(*total_, 0)) << facts_.describe();
  for (size_t e = 0; e < layout.tokensOf.size(); ++e) ASSERT_EQ(layout.tokensOf[e], integerAt(*counters_, e)) << facts_.describe();
  for (size_t i = 0; i < layout.flat.size(); ++i) {
    const Arrival& arrival = layout.flat[i];
    ASSERT_TRUE(sameRow(i, world, arrival)) << facts_.describe() << " slot " << i;
    for (size_t j = 0; j < k && !options_.backward; ++j) {
      const bool used = j < arrival.experts.size();
      const float weight = receivedWeights_->raw<float>()[i * k + j];
      ASSERT_EQ(used ? arrival.experts[j] : -1, receivedId(i * k + j)) << facts_.describe() << " slot " << i;
      ASSERT_TRUE(used ? namesWith(world, arrival.source, arrival.token, arrival.experts[j], weight) : weight == 0.0f) << facts_.describe();
    }
  }
  checkBehind(layout.flat.size(), k);
}

// 4.5 and 5.5.2.
void Round::checkHtExpertMajor(const World& world) {
  const HtLayout layout = layoutOf(world);
  const auto budget = static_cast<int64_t>(facts_.maxReceive);
  ASSERT_EQ(layout.total, integerAt(*total_, 0)) << facts_.describe();
  for (size_t e = 0; e < layout.zones.size(); ++e) {
    const int64_t offset = facts_.drop ? std::min(layout.offsets[e], budget) : layout.offsets[e];
    const int64_t zone = facts_.drop ? std::min(layout.zones[e], std::max<int64_t>(0, budget - layout.offsets[e])) : layout.zones[e];
    ASSERT_EQ(offset, integerAt(*offsets_, e)) << facts_.describe() << " expert " << e;
    ASSERT_EQ(zone, integerAt(*counters_, e)) << facts_.describe() << " expert " << e;
  }
  const size_t rowBytes = facts_.receivedBytes(), scaleBytes = facts_.scaleBytes();
  const auto expectCleared = [&](size_t row) {
    ASSERT_TRUE(isZero(*received_, row * rowBytes, rowBytes)) << facts_.describe() << " row " << row;
    ASSERT_TRUE(scaleBytes == 0 || isZero(*receivedScales_, row * scaleBytes, scaleBytes)) << facts_.describe() << " row " << row;
    ASSERT_TRUE(options_.backward || receivedWeights_->raw<float>()[row] == 0.0f) << facts_.describe() << " row " << row;
  };
  size_t rows = layout.rows.size();
  for (size_t i = 0; i < rows; ++i) {
    if (!layout.rows[i]) {
      expectCleared(i);  // padding, and rows of zones whose token was dropped
      continue;
    }
    const Arrival& arrival = *layout.rows[i];
    ASSERT_TRUE(sameRow(i, world, arrival)) << facts_.describe() << " row " << i;
    const float weight = receivedWeights_->raw<float>()[i];
    ASSERT_TRUE(options_.backward || namesWith(world, arrival.source, arrival.token, arrival.experts[0], weight)) << facts_.describe() << " row " << i;
  }
  if (facts_.mode != Mode::Permute) {
    checkBehind(rows, 1);
    return;
  }
  for (; facts_.drop && rows < facts_.maxReceive; ++rows) expectCleared(rows);  // also outside every zone
  expectRowsSpoiled(rows, received_->elements() / facts_.hidden - rows);
  if (options_.backward) return;
  ASSERT_TRUE(isSpoiled(*receivedWeights_, rows * sizeof(float), receivedWeights_->bytes() - rows * sizeof(float))) << facts_.describe();
}

// 5.5.3: what lies behind the rows in use, where dispatch copies out of staging or peers write into windows.
void Round::checkBehind(size_t rows, size_t columns) {
  const size_t all = received_->elements() / facts_.hidden;
  const size_t staging = facts_.mode != Mode::Permute || facts_.release020 ? facts_.maxReceive : static_cast<size_t>(facts_.ranks) * facts_.maxTokens;
  const size_t copied = options_.captured && !options_.window ? std::max(rows, std::min(facts_.maxReceive, staging)) : rows;
  expectRowsSpoiled(copied, all - copied);
  if (options_.backward) return;
  const bool wholeBudget = facts_.maxReceive > 0 && (options_.captured || options_.window);
  const size_t written = wholeBudget ? std::max(rows, facts_.maxReceive) : rows;
  for (size_t i = rows * columns; i < written * columns; ++i) {
    ASSERT_EQ(0.0f, receivedWeights_->raw<float>()[i]) << facts_.describe();
    ASSERT_TRUE(!receivedIds_ || integerAt(*receivedIds_, i) == -1) << facts_.describe();
  }
  const size_t untouched = (all - written) * columns;
  ASSERT_TRUE(isSpoiled(*receivedWeights_, written * columns * sizeof(float), untouched * sizeof(float))) << facts_.describe();
  ASSERT_TRUE(!receivedIds_ || isSpoiled(*receivedIds_, written * columns * sizeof(int64_t), untouched * sizeof(int64_t))) << facts_.describe();
}

// Every row of a token of this rank is written; zeros where nothing contributes.
void Round::checkCombine(const World& world) {
  std::vector<HtLayout> made;
  if (!facts_.ll && world.layouts.empty()) made = htLayouts(world);
  const std::vector<HtLayout>& layouts = world.layouts.empty() ? made : world.layouts;
  const size_t unit = bytesOf(facts_.type);
  for (size_t t = 0; t < tokens_; ++t) {
    const std::vector<float> expected =
        facts_.ll ? llCombined(world, rank_.rank, t, options_.dead) : htCombined(world, layouts, rank_.rank, t);
    for (size_t h = 0; h < facts_.hidden; ++h) {
      const float actual = decode(facts_.type, combined_->raw<unsigned char>() + (t * facts_.hidden + h) * unit);
      ASSERT_EQ(expected[h], actual) << facts_.describe() << " rank " << rank_.rank << " token " << t << " column " << h;
    }
  }
  if (!options_.backward) return;
  // 5.10: every position that names an expert has the gradient of (token, expert), unless that was dropped.
  const auto k = static_cast<size_t>(facts_.topk);
  for (size_t t = 0; t < tokens_; ++t) {
    for (size_t j = 0; j < k; ++j) {
      const int64_t id = world.id(rank_.rank, t, j);
      bool kept = false;
      if (id >= 0) {
        const HtLayout& there = layouts[static_cast<size_t>(id / facts_.local())];
        const auto found = there.kept.find({rank_.rank, t});
        kept = facts_.expertMajor() ? found != there.kept.end() && std::any_of(found->second.begin(), found->second.end(), [&](const auto& one) { return one.first == id; })
                                    : flatSlot(there, rank_.rank, t) >= 0;
      }
      ASSERT_EQ(kept ? gradientOf(rank_.rank, t, id) : 0.0f, combinedGradients_->raw<float>()[t * k + j])
          << facts_.describe() << " rank " << rank_.rank << " token " << t << " position " << j;
    }
  }
}

}  // namespace ep_test
