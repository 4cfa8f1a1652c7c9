#include "ep_round.h"

#include <algorithm>

namespace ep_test {

namespace {

std::unique_ptr<Tensor> make(ncclDataType_t type, std::vector<size_t> sizes) {
  return std::make_unique<Tensor>(type, std::move(sizes));
}

std::vector<size_t> with(std::vector<size_t> rows, size_t width) {
  rows.push_back(width);
  return rows;
}

}  // namespace

int64_t integerAt(const Tensor& tensor, size_t index) {
  return tensor.type() == ncclInt64 ? tensor.raw<int64_t>()[index] : int64_t{tensor.raw<int32_t>()[index]};
}

float gradientOf(int source, size_t token, int64_t expert) {
  return static_cast<float>(source * 1000 + static_cast<int>(token) * 20) + 0.0625f * static_cast<float>(expert + 1);
}

ncclEpGroupConfig_t groupConfig(const Case& facts) {
  const size_t row = std::max(facts.hidden * bytesOf(facts.type),
                              std::max(facts.sentBytes(), facts.receivedBytes()) + facts.scaleBytes());
  const auto bytes = static_cast<unsigned>((row + 15) / 16 * 16);
  const auto experts = static_cast<unsigned>(facts.experts);
  const auto tokens = static_cast<unsigned>(facts.maxTokens);
  ncclEpGroupConfig_t config = facts.ll
                                   ? lowLatency(experts, tokens, bytes)
                                   : highThroughput(experts, tokens, bytes, static_cast<unsigned>(facts.maxReceive));
  if (!facts.ll && facts.drop) config.overflow_policy = NCCL_EP_OVERFLOW_DROP;
  if (!facts.ll && facts.maxReceive == 0) config.num_topk = static_cast<unsigned>(facts.topk);
  if (facts.zeroCopy) config.zero_copy = NCCL_EP_ZERO_COPY_ON;
  if (facts.shortStructs) {
    config.size = NCCL_EP_GROUP_CONFIG_V1_SIZE;
    config.version = 1;
  }
  return config;
}

Round::Round(const Rank& rank, ncclEpHandle_t handle, const World& world, const RoundOptions& options)
    : Round(rank, handle, world.facts, world.inputs[rank.rank].tokens, [&] {
        RoundOptions own = options;
        if (own.exactRows) {
          const HtLayout layout = world.layouts.empty() ? htLayout(world, rank.rank) : world.layouts[rank.rank];
          own.extraRows = world.facts.expertMajor() ? layout.rows.size() : layout.flat.size();
        }
        return own;
      }()) {}

Round::Round(const Rank& rank, ncclEpHandle_t handle, const Case& facts, size_t tokens, const RoundOptions& options)
    : rank_(rank), handle_(handle), facts_(facts), tokens_(tokens), options_(options) {
  const auto k = static_cast<size_t>(facts.topk);
  routing_ = make(facts.idType, {tokens, k});
  weights_ = make(ncclFloat32, {tokens, k});
  in_ = make(facts.sentType(), {tokens, facts.hidden});
  if (facts.recipe == NCCL_EP_DISP_QUANT_FWD) inScales_ = make(facts.scaleType, {tokens, facts.scaleWidth});
  combined_ = make(facts.type, {tokens, facts.hidden});
  if (options.backward) combinedGradients_ = make(ncclFloat32, {tokens, k});
  if (facts.ll) {
    makeLowLatency();
  } else {
    const size_t worst = static_cast<size_t>(facts.ranks) * facts.maxTokens * k +
                         static_cast<size_t>(facts.local()) * (facts.alignment - 1);
    makeHighThroughput(options.exactRows ? options.extraRows
                                         : (facts.maxReceive > 0 ? facts.maxReceive : worst) + options.extraRows);
  }
}

void Round::makeLowLatency() {
  const auto ranks = static_cast<size_t>(facts_.ranks), local = static_cast<size_t>(facts_.local()),
             k = static_cast<size_t>(facts_.topk);
  const std::vector<size_t> rows = facts_.expertMajor() ? std::vector<size_t>{local, ranks * facts_.maxTokens}
                                                        : std::vector<size_t>{ranks, facts_.maxTokens};
  const auto payload = [&](ncclDataType_t type, size_t width) {
    return options_.window ? Tensor::windowed(rank_.comm, type, with(rows, width)) : make(type, with(rows, width));
  };
  received_ = payload(facts_.receivedType(), facts_.hidden);
  if (facts_.scaleWidth > 0) receivedScales_ = payload(facts_.scaleType, facts_.scaleWidth);
  returned_ = make(facts_.type, with(rows, facts_.hidden));
  counters_ = make(ncclInt32, {facts_.expertMajor() ? local : ranks});
  if (!facts_.expertMajor()) {
    receivedWeights_ = make(ncclFloat32, with(rows, k));
    receivedIds_ = make(ncclInt32, with(rows, k));
  }
}

void Round::makeHighThroughput(size_t rows) {
  const auto local = static_cast<size_t>(facts_.local()), k = static_cast<size_t>(facts_.topk);
  const auto payload = [&](ncclDataType_t type, size_t count, size_t width) {
    return options_.window ? Tensor::windowed(rank_.comm, type, {count, width}) : make(type, {count, width});
  };
  received_ = payload(facts_.receivedType(), rows, facts_.hidden);
  if (facts_.scaleWidth > 0) receivedScales_ = payload(facts_.scaleType, rows, facts_.scaleWidth);
  // C6: backward, combine must not be given more rows than the budget has.
  const size_t most =
      facts_.maxReceive > 0 ? facts_.maxReceive : static_cast<size_t>(facts_.ranks) * facts_.maxTokens * k;
  const size_t home = options_.backward ? std::min(rows, most) : rows;
  returned_ = payload(facts_.type, home, facts_.hidden);
  const auto weightsOf = [&](size_t count) {
    return make(ncclFloat32, facts_.expertMajor() ? std::vector<size_t>{count} : std::vector<size_t>{count, k});
  };
  receivedWeights_ = weightsOf(rows);
  if (options_.backward) gradients_ = weightsOf(home);
  if (!facts_.expertMajor()) receivedIds_ = make(ncclInt64, {rows, k});
  const ncclDataType_t width = facts_.expertMajor() ? facts_.idType : ncclInt32;
  counters_ = make(width, {local});
  offsets_ = make(width, {local});
  total_ = make(width, {1});
}

void Round::load(const World& world) {
  world_ = &world;
  const Input& input = world.inputs[rank_.rank];
  ASSERT_EQ(tokens_, input.tokens);
  ASSERT_EQ(in_->bytes(), input.sent.size());
  if (facts_.idType == ncclInt64) {
    routing_->write(input.ids);
  } else {
    routing_->write(std::vector<int32_t>(input.ids.begin(), input.ids.end()));
  }
  weights_->write(input.weights);
  in_->write(input.sent);
  if (inScales_) inScales_->write(input.scales);
}

void Round::spoil() {
  for (Tensor* tensor : {received_.get(), receivedScales_.get(), receivedWeights_.get(), receivedIds_.get(),
                         combined_.get(), counters_.get(), combinedGradients_.get()}) {
    if (tensor != nullptr && tensor->bytes() > 0) tensor->fill(kSpoilt);
  }
  returned_->fill(0);
}

ncclResult_t Round::update() {
  if (facts_.ll) return ncclEpUpdateHandle(handle_, *routing_, nullptr, rank_.stream);
  auto info = made<ncclEpLayoutInfo_t>(facts_.shortStructs ? NCCL_EP_LAYOUT_INFO_V1_SIZE : sizeof(ncclEpLayoutInfo_t));
  info.expert_counters = *counters_;
  info.recv_total_counter = *total_;
  if (facts_.expertMajor()) info.expert_offsets = *offsets_;
  return ncclEpUpdateHandle(handle_, *routing_, &info, rank_.stream);
}

ncclResult_t Round::dispatch(bool sendOnly) {
  auto inputs = made<ncclEpDispatchInputs_t>();
  auto outputs = made<ncclEpDispatchOutputs_t>();
  auto info = made<ncclEpLayoutInfo_t>(facts_.shortStructs ? NCCL_EP_LAYOUT_INFO_V1_SIZE : sizeof(ncclEpLayoutInfo_t));
  auto config = made<ncclEpDispatchConfig_t>(facts_.shortStructs ? NCCL_EP_DISPATCH_CONFIG_V1_SIZE
                                                                 : sizeof(ncclEpDispatchConfig_t));
  inputs.tokens = *in_;
  outputs.tokens = *received_;
  if (inScales_) inputs.scales = *inScales_;
  if (receivedScales_) outputs.scales = *receivedScales_;
  config.send_only = sendOnly ? 1 : 0;
  config.round_scales = facts_.roundScales ? 1 : 0;
  config.pass_direction = options_.backward ? NCCL_EP_BWD_PASS : NCCL_EP_FWD_PASS;
  config.quant_recipe = facts_.recipe;
  info.recv_topk_idx_kind = facts_.globalIds ? NCCL_EP_EXPERT_ID_GLOBAL : NCCL_EP_EXPERT_ID_LOCAL;
  if (!options_.backward && (!facts_.ll || !facts_.expertMajor())) {
    inputs.topk_weights = *weights_;
    outputs.topk_weights = *receivedWeights_;
    if (!facts_.expertMajor()) outputs.topk_idx = *receivedIds_;
  }
  if (facts_.ll) (facts_.expertMajor() ? info.expert_counters : info.src_rank_counters) = *counters_;
  return ncclEpDispatch(handle_, &inputs, &outputs, &info, &config, rank_.stream);
}

void Round::experts() { EXPECT_CUDA(cudaSuccess, cudaLaunchHostFunc(rank_.stream, &Round::runExperts, this)); }

ncclResult_t Round::combine(bool sendOnly) {
  auto inputs =
      made<ncclEpCombineInputs_t>(facts_.shortStructs ? NCCL_EP_COMBINE_INPUTS_V1_SIZE : sizeof(ncclEpCombineInputs_t));
  auto outputs = made<ncclEpCombineOutputs_t>();
  auto config =
      made<ncclEpCombineConfig_t>(facts_.shortStructs ? NCCL_EP_COMBINE_CONFIG_V1_SIZE : sizeof(ncclEpCombineConfig_t));
  inputs.tokens = *returned_;
  outputs.tokens = *combined_;
  if (facts_.ll && facts_.expertMajor()) outputs.topk_weights = *weights_;
  if (options_.backward) {
    inputs.topk_weights = *gradients_;
    outputs.topk_weights = *combinedGradients_;
    config.pass_direction = NCCL_EP_BWD_PASS;
  }
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
  const unsigned char* const from = received_->raw<unsigned char>() + row * facts_.receivedBytes();
  const size_t unit = bytesOf(facts_.type);
  unsigned char* const to = returned_->raw<unsigned char>() + row * facts_.hidden * unit;
  for (size_t h = 0; h < facts_.hidden; ++h) {
    const float y = expertValue(facts_, expert, facts_.received(from, h));
    encode(facts_.type, weighted ? weight * y : y, to + h * unit);
  }
}

void Round::sumRow(size_t row, const std::vector<int64_t>& experts, const std::vector<float>& weights) {
  const unsigned char* const from = received_->raw<unsigned char>() + row * facts_.receivedBytes();
  const size_t unit = bytesOf(facts_.type);
  unsigned char* const to = returned_->raw<unsigned char>() + row * facts_.hidden * unit;
  for (size_t h = 0; h < facts_.hidden; ++h) {
    const float x = facts_.received(from, h);
    float sum = 0.0f;
    for (size_t i = 0; i < experts.size(); ++i) sum += weights[i] * expertValue(facts_, experts[i], x);
    encode(facts_.type, sum, to + h * unit);
  }
}

int64_t Round::receivedId(size_t index) const {
  int64_t id = integerAt(*receivedIds_, index);
  if (id >= 0 && !facts_.globalIds) id += static_cast<int64_t>(rank_.rank) * facts_.local();
  return id;
}

// The row's experts by the ids and weights that came with it.
void Round::sumReceived(size_t row) {
  const auto k = static_cast<size_t>(facts_.topk);
  std::vector<int64_t> experts;
  std::vector<float> weights;
  for (size_t j = 0; j < k; ++j) {
    const int64_t id = receivedId(row * k + j);
    if (id < 0) continue;
    experts.push_back(id);
    weights.push_back(receivedWeights_->raw<float>()[row * k + j]);
  }
  sumRow(row, experts, weights);
}

HtLayout Round::layoutOf(const World& world) const {
  return world.layouts.empty() ? htLayout(world, rank_.rank) : world.layouts[rank_.rank];
}

void Round::runExperts(void* opaque) {
  Round& self = *static_cast<Round*>(opaque);
  if (self.options_.backward || self.options_.byLayout) {
    self.runByLayout();
  } else if (self.facts_.ll) {
    self.runLowLatency();
  } else {
    self.runHighThroughput();
  }
}

void Round::runByLayout() {
  const HtLayout layout = layoutOf(*world_);
  std::vector<std::optional<Arrival>> rows(layout.flat.begin(), layout.flat.end());
  if (facts_.expertMajor()) rows = layout.rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i]) continue;
    if (facts_.expertMajor()) {
      expertRow(i, rows[i]->experts[0], rows[i]->weights[0], true);
    } else {
      sumRow(i, rows[i]->experts, rows[i]->weights);
    }
    const size_t columns = facts_.expertMajor() ? 1 : static_cast<size_t>(facts_.topk);
    for (size_t j = 0; options_.backward && j < rows[i]->experts.size(); ++j) {
      gradients_->raw<float>()[i * columns + j] = gradientOf(rows[i]->source, rows[i]->token, rows[i]->experts[j]);
    }
  }
}

void Round::runLowLatency() {
  const size_t zoneRows =
      facts_.expertMajor() ? static_cast<size_t>(facts_.ranks) * facts_.maxTokens : facts_.maxTokens;
  for (size_t zone = 0; zone < counters_->elements(); ++zone) {
    for (size_t i = 0; i < static_cast<size_t>(integerAt(*counters_, zone)); ++i) {
      if (facts_.expertMajor()) {
        expertRow(zone * zoneRows + i, static_cast<int64_t>(rank_.rank) * facts_.local() + static_cast<int64_t>(zone),
                  1.0f, false);
      } else {
        sumReceived(zone * zoneRows + i);
      }
    }
  }
}

void Round::runHighThroughput() {
  if (!facts_.expertMajor()) {
    int64_t rows = integerAt(*total_, 0);
    if (facts_.maxReceive > 0) rows = std::min(rows, static_cast<int64_t>(facts_.maxReceive));
    for (int64_t i = 0; i < rows; ++i) sumReceived(static_cast<size_t>(i));
    return;
  }
  for (size_t e = 0; e < static_cast<size_t>(facts_.local()); ++e) {
    const auto begin = static_cast<size_t>(integerAt(*offsets_, e));
    for (size_t i = begin; i < begin + static_cast<size_t>(integerAt(*counters_, e)); ++i) {
      expertRow(i, static_cast<int64_t>(rank_.rank) * facts_.local() + static_cast<int64_t>(e),
                receivedWeights_->raw<float>()[i], true);
    }
  }
}

}  // namespace ep_test
