// What NCCL EP must compute, worked out from all ranks' inputs at once, by the rules alone and with none of the
// library's code.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "abi/nccl_ep.h"
#include "ep_formats.h"

namespace ep_test {

enum class Mode { Permute, LocalDup, NvlinkDup };

struct Case {
  bool ll = true;
  ncclEpLayout_t layout = NCCL_EP_LAYOUT_EXPERT_MAJOR;
  Mode mode = Mode::Permute;
  int ranks = 2;
  int teams = 1;              // of consecutive ranks; others are reached over the network
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
  // 5.7: QUANT_FWD sends `wire` with scales, DS_FP8E3M4 sends `type` that arrives as e4m3 with factors; home goes
  // `type`.
  ncclEpDispQuant_t recipe = NCCL_EP_DISP_QUANT_NONE;
  ncclDataType_t wire = ncclBfloat16;
  ncclDataType_t scaleType = ncclFloat32;
  size_t scaleWidth = 0;
  bool roundScales = false;
  bool zeroCopy = false;
  bool shortStructs = false;  // of the sizes of API version 1
  bool release020 = false;    // the emulator plays release 0.2.0

  int local() const { return experts / ranks; }
  int teamOf(int rank) const { return rank / (ranks / teams); }
  ncclDataType_t sentType() const { return recipe == NCCL_EP_DISP_QUANT_FWD ? wire : type; }
  ncclDataType_t receivedType() const { return recipe == NCCL_EP_DISP_QUANT_DS_FP8E3M4 ? ncclFloat8e4m3 : sentType(); }
  size_t sentBytes() const { return hidden * bytesOf(sentType()); }
  size_t receivedBytes() const { return hidden * bytesOf(receivedType()); }
  size_t scaleBytes() const { return scaleWidth * bytesOf(scaleType); }
  float received(const unsigned char* row, size_t column) const;
  bool expertMajor() const { return layout == NCCL_EP_LAYOUT_EXPERT_MAJOR; }
  std::string describe() const;
};

// One rank's inputs.
struct Input {
  size_t tokens = 0;
  std::vector<int64_t> ids;      // [T][K], -1 = not routed
  std::vector<float> weights;    // [T][K]
  std::vector<float> rows;       // [T][H], as they arrive
  std::vector<unsigned char> sent, arrived, scales;  // their bytes
};

// A (token, expert) or (token, rank) on its way.
struct Arrival {
  int source;
  size_t token;
  std::vector<int64_t> experts;  // here, ascending; for LL RANK_MAJOR in top-k order
  std::vector<float> weights;    // parallel
};

// What a rank receives in HT.
struct HtLayout {
  std::vector<Arrival> flat;                      // kept tokens, by FLAT slot
  int64_t received = 0;                           // before dropping
  std::vector<int64_t> tokensOf;                  // per local expert; of kept tokens for FLAT
  // EXPERT_MAJOR
  std::vector<int64_t> offsets;                   // per local expert, not clamped
  std::vector<int64_t> zones;                     // padded sizes, not clamped
  int64_t total = 0;                              // padded rows before dropping
  std::vector<std::optional<Arrival>> rows;       // kept rows; nullopt = padding
  // By source and token: FLAT slots, and the kept rows' experts, ascending, with their weights.
  std::map<std::pair<int, size_t>, int64_t> slots;
  std::map<std::pair<int, size_t>, std::vector<std::pair<int64_t, float>>> kept;
};

struct World {
  Case facts;
  std::vector<Input> inputs;      // per rank
  std::vector<HtLayout> layouts;  // per rank, if they are worked out already
  bool unweighted = false;        // backward: experts do not look at weights
  float x(int source, size_t token, size_t column) const { return inputs[source].rows[token * facts.hidden + column]; }
  int64_t id(int source, size_t token, size_t k) const { return inputs[source].ids[token * facts.topk + k]; }
  float weight(int source, size_t token, size_t k) const {
    return unweighted ? 1.0f : inputs[source].weights[token * facts.topk + k];
  }
};

// Bytes of plain rows; for worlds whose rows were written by hand.
void encodeRows(World& world);
// More tokens, up to the most a rank may have, that are routed nowhere.
void pad(World& world);

// Skew draws experts from a power of a uniform number. With duplicates an expert may stand twice in a row.
World randomWorld(const Case& facts, std::mt19937_64& random, bool duplicates = false, double skew = 1.0);

// What an expert does with a row: rounded to the type.
float expertValue(const Case& facts, int64_t expert, float x);

// ---- LL ----
std::vector<std::vector<Arrival>> llZones(const World& world, int rank);    // EXPERT_MAJOR: [L]
std::vector<std::vector<Arrival>> llSources(const World& world, int rank);  // RANK_MAJOR: [R]
// `dead` ranks contribute nothing.
std::vector<float> llCombined(const World& world, int rank, size_t token, const std::vector<bool>& dead = {});

// ---- HT ----
// Whether a token names an expert with that weight; of two weights either may survive (C3).
bool namesWith(const World& world, int source, size_t token, int64_t expert, float weight);
HtLayout htLayout(const World& world, int rank);
std::vector<HtLayout> htLayouts(const World& world);  // of all ranks
// Slot of a token at a destination, -1 if it has none or was dropped.
int64_t flatSlot(const HtLayout& destination, int source, size_t token);
std::vector<float> htCombined(const World& world, const std::vector<HtLayout>& layouts, int rank, size_t token);
bool overflows(const World& world, int rank);

}  // namespace ep_test
