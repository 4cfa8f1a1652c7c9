// What NCCL EP must compute, worked out from all ranks' inputs at once, by the rules alone and with none of the library's code.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "abi/nccl_ep.h"

namespace ep_test {

enum class Mode { Permute, LocalDup, NvlinkDup };

struct Case {
  bool ll = true;
  ncclEpLayout_t layout = NCCL_EP_LAYOUT_EXPERT_MAJOR;
  Mode mode = Mode::Permute;
  int ranks = 2;
  int experts = 8;
  int topk = 2;
  size_t maxTokens = 16;      // B
  size_t maxReceive = 0;      // M; 0 = eager for HT
  size_t hidden = 512;
  ncclDataType_t type = ncclBfloat16;
  ncclDataType_t idType = ncclInt64;
  size_t alignment = 1;
  bool drop = false;
  bool globalIds = false;

  int local() const { return experts / ranks; }
  bool expertMajor() const { return layout == NCCL_EP_LAYOUT_EXPERT_MAJOR; }
  std::string describe() const;
};

// Elements of bf16, fp16 and fp32, to nearest even.
float decode(ncclDataType_t type, const unsigned char* element);
void encode(ncclDataType_t type, float value, unsigned char* element);
float rounded(ncclDataType_t type, float value);

// One rank's inputs.
struct Input {
  size_t tokens = 0;
  std::vector<int64_t> ids;      // [T][K], -1 = not routed
  std::vector<float> weights;    // [T][K]
  std::vector<float> rows;       // [T][H], exact in the case's type
};

struct World {
  Case facts;
  std::vector<Input> inputs;     // per rank
  float x(int source, size_t token, size_t column) const { return inputs[source].rows[token * facts.hidden + column]; }
  int64_t id(int source, size_t token, size_t k) const { return inputs[source].ids[token * facts.topk + k]; }
  float weight(int source, size_t token, size_t k) const { return inputs[source].weights[token * facts.topk + k]; }
};

// Skew draws experts from a power of a uniform number. With duplicates an expert may stand twice in a row.
World randomWorld(const Case& facts, std::mt19937_64& random, bool duplicates = false, double skew = 1.0);

// What an expert does with a row: rounded to the type.
float expertValue(const Case& facts, int64_t expert, float x);

// A (token, expert) or (token, rank) on its way.
struct Arrival {
  int source;
  size_t token;
  std::vector<int64_t> experts;  // here, ascending; for LL RANK_MAJOR in top-k order
  std::vector<float> weights;    // parallel
};

// ---- LL ----
std::vector<std::vector<Arrival>> llZones(const World& world, int rank);    // EXPERT_MAJOR: [L]
std::vector<std::vector<Arrival>> llSources(const World& world, int rank);  // RANK_MAJOR: [R]
// `dead` ranks contribute nothing.
std::vector<float> llCombined(const World& world, int rank, size_t token, const std::vector<bool>& dead = {});

// ---- HT ----
struct HtLayout {
  std::vector<Arrival> flat;                      // kept tokens, by FLAT slot
  int64_t received = 0;                           // before dropping
  std::vector<int64_t> tokensOf;                  // per local expert; of kept tokens for FLAT
  // EXPERT_MAJOR
  std::vector<int64_t> offsets;                   // per local expert, not clamped
  std::vector<int64_t> zones;                     // padded sizes, not clamped
  int64_t total = 0;                              // padded rows before dropping
  std::vector<std::optional<Arrival>> rows;       // kept rows; nullopt = padding
};
HtLayout htLayout(const World& world, int rank);
std::vector<HtLayout> htLayouts(const World& world);  // of all ranks
// Slot of a token at a destination, -1 if it has none or was dropped.
int64_t flatSlot(const HtLayout& destination, int source, size_t token);
std::vector<float> htCombined(const World& world, const std::vector<HtLayout>& layouts, int rank, size_t token);
bool overflows(const World& world, int rank);

}  // namespace ep_test
