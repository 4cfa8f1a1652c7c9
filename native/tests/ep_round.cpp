#include "ep_round.h"

#include <algorithm>
#include <set>

namespace ep_test {

namespace {

constexpr int kPattern = 0x5a;

std::unique_ptr<Tensor> make(ncclDataType_t type, std::vector<size_t> sizes) { return std::make_unique<Tensor>(type, std::move(sizes)); }

}  // namespace

ncclEpGroupConfig_t groupConfig(const Case& facts) {
  const auto bytes = static_cast<unsigned>(facts.hidden * bytesOf(facts.type));
  const auto experts = static_cast<unsigned>(facts.experts);
  const auto tokens = static_cast<unsigned>(facts.maxTokens);
  if (facts.ll) return lowLatency(experts, tokens, bytes);
  ncclEpGroupConfig_t config = highThroughput(experts, tokens, bytes, static_cast<unsigned>(facts.maxReceive));
  if (facts.drop) config.overflow_policy = NCCL_EP_OVERFLOW_DROP;
  if (facts.maxReceive == 0) config.num_topk = static_cast<unsigned>(facts.topk);
  return config;
}

Round::Round(const Rank& rank, ncclEpHandle_t handle, const Case& facts, size_t tokens, const RoundOptions& options)
    : rank_(rank), handle_(handle), facts_(facts), tokens_(tokens), options_(options) {
  const auto k = static_cast<size_t>(facts.topk);
  const auto ranks = static_cast<size_t>(facts.ranks);
  const auto local = static_cast<size_t>(facts.local());
  routing_ = make(facts.idType, {tokens, k});
  weights_ = make(ncclFloat32, {tokens, k});
  in_ = make(facts.type, {tokens, facts.hidden});
  combined_ = make(facts.type, {tokens, facts.hidden});
  const auto payload = [&](std::vector<size_t> sizes) {
    return options.window ? Tensor::windowed(rank.comm, facts.type, sizes) : make(facts.type, sizes);
  };
  if (facts.ll) {
    const std::vector<size_t> sizes = facts.expertMajor() ? std::vector<size_t>{local, ranks * facts.maxTokens, facts.hidden}
                                                          : std::vector<size_t>{ranks, facts.maxTokens, facts.hidden};
    received_ = payload(sizes);
    returned_ = payload(sizes);
    counters_ = make(ncclInt32, {facts.expertMajor() ? local : ranks});
    if (!facts.expertMajor()) {
      receivedWeights_ = make(ncclFloat32, {ranks, facts.maxTokens, k});
      receivedIds_ = make(ncclInt32, {ranks, facts.maxTokens, k});
    }
    return;
  }
  const size_t budget = facts.maxReceive > 0 ? facts.maxReceive : ranks * facts.maxTokens * k + local * (facts.alignment - 1);
  received_ = payload({budget, facts.hidden});
  returned_ = payload({budget, facts.hidden});
  receivedWeights_ = facts.expertMajor() ? make(ncclFloat32, {budget}) : make(ncclFloat32, {budget, k});
  if (!facts.expertMajor()) receivedIds_ = make(ncclInt64, {budget, k});
  const ncclDataType_t width = facts.expertMajor() ? facts.idType : ncclInt32;
  counters_ = make(width, {local});
  offsets_ = make(width, {local});
  total_ = make(width, {1});
}

void Round::load(const World& world) {
  const Input& input = world.inputs[rank_.rank];
  ASSERT_EQ(tokens_, input.tokens);
  if (facts_.idType == ncclInt64) {
    routing_->write(input.ids);
  } else {
    routing_->write(std::vector<int32_t>(input.ids.begin(), input.ids.end()));
  }
  weights_->write(input.weights);
  for (size_t i = 0; i < input.rows.size(); ++i) {
    encode(facts_.type, input.rows[i], in_->raw<unsigned char>() + i * bytesOf(facts_.type));
  }
}

void Round::spoil() {
  for (Tensor* tensor : {received_.get(), receivedWeights_.get(), receivedIds_.get(), combined_.get(), counters_.get()}) {
    if (tensor != nullptr && tensor->bytes() > 0) tensor->fill(kPattern);
  }
  returned_->fill(0);
}

ncclResult_t Round::update() {
  auto info = made<ncclEpLayoutInfo_t>();
  if (facts_.ll) return ncclEpUpdateHandle(handle_, *routing_, nullptr, rank_.stream);
  info.expert_counters = *counters_;
  info.recv_total_counter = *total_;
  if (facts_.expertMajor()) info.expert_offsets = *offsets_;
  return ncclEpUpdateHandle(handle_, *routing_, &info, rank_.stream);
}

ncclResult_t Round::dispatch(bool sendOnly) {
  auto inputs = made<ncclEpDispatchInputs_t>();
  auto outputs = made<ncclEpDispatchOutputs_t>();
  auto info = made<ncclEpLayoutInfo_t>();
  auto config = made<ncclEpDispatchConfig_t>();
  inputs.tokens = *in_;
  outputs.tokens = *received_;
  config.send_only = sendOnly ? 1 : 0;
  info.recv_topk_idx_kind = facts_.globalIds ? NCCL_EP_EXPERT_ID_GLOBAL : NCCL_EP_EXPERT_ID_LOCAL;
  if (!facts_.ll || !facts_.expertMajor()) {
    inputs.topk_weights = *weights_;
    outputs.topk_weights = *receivedWeights_;
  }
  if (!facts_.expertMajor()) outputs.topk_idx = *receivedIds_;
  if (facts_.ll) (facts_.expertMajor() ? info.expert_counters : info.src_rank_counters) = *counters_;
  return ncclEpDispatch(handle_, &inputs, &outputs, &info, &config, rank_.stream);
}

void Round::experts() { EXPECT_CUDA(cudaSuccess, cudaLaunchHostFunc(rank_.stream, &Round::runExperts, this)); }

ncclResult_t Round::combine(bool sendOnly) {
  auto inputs = made<ncclEpCombineInputs_t>();
  auto outputs = made<ncclEpCombineOutputs_t>();
  auto config = made<ncclEpCombineConfig_t>();
  inputs.tokens = *returned_;
  outputs.tokens = *combined_;
  if (facts_.ll && facts_.expertMajor()) outputs.topk_weights = *weights_;
  config.send_only = sendOnly ? 1 : 0;
  return ncclEpCombine(handle_, &inputs, &outputs, &config, rank_.stream);
}

ncclResult_t Round::complete() { return ncclEpComplete(handle_, nullptr, rank_.stream); }

void Round::all() {
  EXPECT_EP(ncclSuccess, update());
  EXPECT_EP(ncclSuccess, dispatch());
  experts();
  EXPECT_EP(ncclSuccess, combine());
}

void Round::expertRow(size_t row, int64_t expert, float weight, bool weighted) {
  const size_t unit = bytesOf(facts_.type);
  for (size_t h = 0; h < facts_.hidden; ++h) {
    const size_t at = (row * facts_.hidden + h) * unit;
    const float y = expertValue(facts_, expert, decode(facts_.type, received_->raw<unsigned char>() + at));
    encode(facts_.type, weighted ? weight * y : y, returned_->raw<unsigned char>() + at);
  }
}

void Round::sumRow(size_t row, const std::vector<int64_t>& experts, const std::vector<float>& weights) {
  const size_t unit = bytesOf(facts_.type);
  for (size_t h = 0; h < facts_.hidden; ++h) {
    const size_t at = (row * facts_.hidden + h) * unit;
    const float x = decode(facts_.type, received_->raw<unsigned char>() + at);
    float sum = 0.0f;
    for (size_t i = 0; i < experts.size(); ++i) sum += weights[i] * expertValue(facts_, experts[i], x);
    encode(facts_.type, sum, returned_->raw<unsigned char>() + at);
  }
}

int64_t Round::receivedId(size_t index) const {
  int64_t id = facts_.ll ? receivedIds_->raw<int32_t>()[index] : receivedIds_->raw<int64_t>()[index];
  if (id >= 0 && !facts_.globalIds) id += static_cast<int64_t>(rank_.rank) * facts_.local();
  return id;
}

void Round::runExperts(void* opaque) {
  Round& self = *static_cast<Round*>(opaque);
  const Case& facts = self.facts_;
  const int64_t begin = static_cast<int64_t>(self.rank_.rank) * facts.local();
  const auto k = static_cast<size_t>(facts.topk);
  const auto counter = [&](Tensor& tensor, size_t i) {
    return tensor->datatype == ncclInt64 ? tensor.raw<int64_t>()[i] : int64_t{tensor.raw<int32_t>()[i]};
  };
  const auto sum = [&](size_t row) {
    std::vector<int64_t> experts;
    std::vector<float> weights;
    for (size_t j = 0; j < k; ++j) {
      const int64_t id = self.receivedId(row * k + j);
      if (id < 0) continue;
      experts.push_back(id);
      weights.push_back(self.receivedWeights_->raw<float>()[row * k + j]);
    }
    self.sumRow(row, experts, weights);
  };
  if (facts.ll && facts.expertMajor()) {
    const size_t zone = static_cast<size_t>(facts.ranks) * facts.maxTokens;
    for (size_t e = 0; e < static_cast<size_t>(facts.local()); ++e) {
      for (int64_t i = 0; i < counter(*self.counters_, e); ++i) {
        self.expertRow(e * zone + static_cast<size_t>(i), begin + static_cast<int64_t>(e), 1.0f, false);
      }
    }
  } else if (facts.ll) {
    for (size_t s = 0; s < static_cast<size_t>(facts.ranks); ++s) {
      for (int64_t i = 0; i < counter(*self.counters_, s); ++i) sum(s * facts.maxTokens + static_cast<size_t>(i));
    }
  } else if (facts.expertMajor()) {
    for (size_t e = 0; e < static_cast<size_t>(facts.local()); ++e) {
      const int64_t offset = counter(*self.offsets_, e);
      for (int64_t i = offset; i < offset + counter(*self.counters_, e); ++i) {
        self.expertRow(static_cast<size_t>(i), begin + static_cast<int64_t>(e),
                       self.receivedWeights_->raw<float>()[static_cast<size_t>(i)], true);
      }
    }
  } else {
    int64_t rows = counter(*self.total_, 0);
    if (facts.maxReceive > 0) rows = std::min(rows, static_cast<int64_t>(facts.maxReceive));
    for (int64_t i = 0; i < rows; ++i) sum(static_cast<size_t>(i));
  }
}

bool Round::sameRow(const unsigned char* bytes, const World& world, const Arrival& arrival) const {
  for (size_t h = 0; h < facts_.hidden; ++h) {
    if (decode(facts_.type, bytes + h * bytesOf(facts_.type)) != world.x(arrival.source, arrival.token, h)) return false;
  }
  return true;
}

bool Round::isSpoiled(Tensor& tensor, size_t fromByte, size_t bytes) const {
  const unsigned char* const from = tensor.raw<unsigned char>() + fromByte;
  return std::all_of(from, from + bytes, [](unsigned char byte) { return byte == kPattern; });
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
    ASSERT_EQ(static_cast<int32_t>(expected.size()), counters_->raw<int32_t>()[e]) << facts_.describe() << " rank " << rank_.rank;
    for (size_t i = 0; i < expected.size(); ++i) {
      const unsigned char* const row = received_->raw<unsigned char>() + (e * zoneRows + i) * rowBytes();
      const auto found = std::find_if(expected.begin() + static_cast<std::ptrdiff_t>(i), expected.end(),
                                      [&](const Arrival& arrival) { return sameRow(row, world, arrival); });
      ASSERT_NE(expected.end(), found) << facts_.describe() << " rank " << rank_.rank << " expert " << e << " row " << i;
      if (!options_.anyOrder) {
        ASSERT_TRUE(sameRow(row, world, expected[i])) << facts_.describe() << " expert " << e << " row " << i;
      }
      std::iter_swap(found, expected.begin() + static_cast<std::ptrdiff_t>(i));
    }
    const size_t used = e * zoneRows + expected.size();
    ASSERT_TRUE(isSpoiled(*received_, used * rowBytes(), ((e + 1) * zoneRows - used) * rowBytes())) << facts_.describe();
  }
}

// 5.2: source s has its own rows; ids keep their k, weights of every k, unused ids are -1, other unused rows untouched.
void Round::checkLlRankMajor(const World& world) {
  const auto sources = llSources(world, rank_.rank);
  const auto k = static_cast<size_t>(facts_.topk);
  for (size_t s = 0; s < sources.size(); ++s) {
    std::vector<Arrival> expected = sources[s];
    if (!options_.dead.empty() && options_.dead[s]) expected.clear();
    ASSERT_EQ(static_cast<int32_t>(expected.size()), counters_->raw<int32_t>()[s]) << facts_.describe();
    for (size_t i = 0; i < facts_.maxTokens; ++i) {
      const size_t row = s * facts_.maxTokens + i;
      if (i >= expected.size()) {
        for (size_t j = 0; j < k; ++j) ASSERT_EQ(-1, receivedIds_->raw<int32_t>()[row * k + j]);
        ASSERT_TRUE(isSpoiled(*received_, row * rowBytes(), rowBytes())) << facts_.describe();
        ASSERT_TRUE(isSpoiled(*receivedWeights_, row * k * sizeof(float), k * sizeof(float)));
        continue;
      }
      const unsigned char* const bytes = received_->raw<unsigned char>() + row * rowBytes();
      const auto found = std::find_if(expected.begin() + static_cast<std::ptrdiff_t>(i), expected.end(),
                                      [&](const Arrival& arrival) { return sameRow(bytes, world, arrival); });
      ASSERT_NE(expected.end(), found) << facts_.describe();
      if (!options_.anyOrder) {
        ASSERT_TRUE(sameRow(bytes, world, expected[i])) << facts_.describe();
      }
      std::iter_swap(found, expected.begin() + static_cast<std::ptrdiff_t>(i));
      for (size_t j = 0; j < k; ++j) {
        const int64_t id = world.id(static_cast<int>(s), expected[i].token, j);
        const bool here = id >= 0 && id / facts_.local() == rank_.rank;
        ASSERT_EQ(here ? id : -1, receivedId(row * k + j)) << facts_.describe();
        ASSERT_EQ(world.weight(static_cast<int>(s), expected[i].token, j), receivedWeights_->raw<float>()[row * k + j]);
      }
    }
  }
}

// 4.5 and 5.5.1.
void Round::checkHtFlat(const World& world) {
  const HtLayout layout = htLayout(world, rank_.rank);
  const auto k = static_cast<size_t>(facts_.topk);
  ASSERT_EQ(layout.received, total_->raw<int32_t>()[0]) << facts_.describe();
  for (size_t e = 0; e < layout.tokensOf.size(); ++e) ASSERT_EQ(layout.tokensOf[e], counters_->raw<int32_t>()[e]) << facts_.describe();
  for (size_t i = 0; i < layout.flat.size(); ++i) {
    const Arrival& arrival = layout.flat[i];
    ASSERT_TRUE(sameRow(received_->raw<unsigned char>() + i * rowBytes(), world, arrival)) << facts_.describe() << " slot " << i;
    for (size_t j = 0; j < k; ++j) {
      const bool used = j < arrival.experts.size();
      ASSERT_EQ(used ? arrival.experts[j] : -1, receivedId(i * k + j)) << facts_.describe() << " slot " << i;
      ASSERT_EQ(used ? arrival.weights[j] : 0.0f, receivedWeights_->raw<float>()[i * k + j]) << facts_.describe();
    }
  }
  // 5.5.3: what lies behind the rows in use.
  const size_t rows = layout.flat.size();
  const size_t behind = received_->bytes() - rows * rowBytes();
  const bool metaOfBudget = facts_.maxReceive > 0 && (options_.captured || options_.window);
  if (!options_.captured || options_.window) {
    ASSERT_TRUE(isSpoiled(*received_, rows * rowBytes(), behind)) << facts_.describe();
  }
  for (size_t i = rows * k; i < receivedIds_->elements(); ++i) {
    if (metaOfBudget) {
      ASSERT_EQ(-1, receivedIds_->raw<int64_t>()[i]) << facts_.describe();
      ASSERT_EQ(0.0f, receivedWeights_->raw<float>()[i]) << facts_.describe();
    } else {
      ASSERT_TRUE(isSpoiled(*receivedIds_, i * sizeof(int64_t), sizeof(int64_t))) << facts_.describe();
      ASSERT_TRUE(isSpoiled(*receivedWeights_, i * sizeof(float), sizeof(float))) << facts_.describe();
    }
  }
}

// 4.5 and 5.5.2.
void Round::checkHtExpertMajor(const World& world) {
  const HtLayout layout = htLayout(world, rank_.rank);
  const auto budget = static_cast<int64_t>(facts_.maxReceive);
  const auto counter = [&](Tensor& tensor, size_t i) {
    return tensor->datatype == ncclInt64 ? tensor.raw<int64_t>()[i] : int64_t{tensor.raw<int32_t>()[i]};
  };
  ASSERT_EQ(layout.total, counter(*total_, 0)) << facts_.describe();
  for (size_t e = 0; e < layout.zones.size(); ++e) {
    const int64_t offset = facts_.drop ? std::min(layout.offsets[e], budget) : layout.offsets[e];
    const int64_t zone = facts_.drop ? std::min(layout.zones[e], std::max<int64_t>(0, budget - layout.offsets[e])) : layout.zones[e];
    ASSERT_EQ(offset, counter(*offsets_, e)) << facts_.describe() << " expert " << e;
    ASSERT_EQ(zone, counter(*counters_, e)) << facts_.describe() << " expert " << e;
  }
  const std::vector<unsigned char> zeros(rowBytes(), 0);
  for (size_t i = 0; i < layout.rows.size(); ++i) {
    const unsigned char* const row = received_->raw<unsigned char>() + i * rowBytes();
    if (layout.rows[i]) {
      ASSERT_TRUE(sameRow(row, world, *layout.rows[i])) << facts_.describe() << " row " << i;
      ASSERT_EQ(layout.rows[i]->weights[0], receivedWeights_->raw<float>()[i]) << facts_.describe() << " row " << i;
    } else {
      ASSERT_EQ(0, std::memcmp(row, zeros.data(), zeros.size())) << facts_.describe() << " padding row " << i;
      ASSERT_EQ(0.0f, receivedWeights_->raw<float>()[i]) << facts_.describe() << " padding row " << i;
    }
  }
  const size_t rows = layout.rows.size();
  if (facts_.mode == Mode::Permute && !facts_.drop) {
    ASSERT_TRUE(isSpoiled(*received_, rows * rowBytes(), received_->bytes() - rows * rowBytes())) << facts_.describe();
    ASSERT_TRUE(isSpoiled(*receivedWeights_, rows * sizeof(float), receivedWeights_->bytes() - rows * sizeof(float)));
  }
  if (facts_.mode == Mode::Permute && facts_.drop) {  // rows below M are zero, also outside every zone
    for (size_t i = rows; i < facts_.maxReceive; ++i) {
      ASSERT_EQ(0, std::memcmp(received_->raw<unsigned char>() + i * rowBytes(), zeros.data(), zeros.size())) << facts_.describe();
    }
  }
}

// Every row of a token of this rank is written; zeros where nothing contributes.
void Round::checkCombine(const World& world) {
  const auto layouts = facts_.ll ? std::vector<HtLayout>{} : htLayouts(world);
  for (size_t t = 0; t < tokens_; ++t) {
    const std::vector<float> expected =
        facts_.ll ? llCombined(world, rank_.rank, t, options_.dead) : htCombined(world, layouts, rank_.rank, t);
    for (size_t h = 0; h < facts_.hidden; ++h) {
      const float actual = decode(facts_.type, combined_->raw<unsigned char>() + (t * facts_.hidden + h) * bytesOf(facts_.type));
      ASSERT_EQ(expected[h], actual) << facts_.describe() << " rank " << rank_.rank << " token " << t << " column " << h;
    }
  }
}

}  // namespace ep_test
