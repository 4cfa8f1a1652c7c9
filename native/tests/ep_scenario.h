// A random configuration of a group, and what its ranks do with it: all drawn from one seed.
#pragma once

#include "ep_reference.h"

namespace ep_test {

enum class Family { LowLatency, HighThroughput, Release020, SeveralTeams };

enum class Manner {
  Whole,
  Staged,    // send half first (without effect in HT)
  Captured,  // once, replayed with other inputs
  Overlapped // two handles: both dispatched before either is combined
};

struct ScenarioStep {
  Manner manner = Manner::Whole;
  bool backward = false;
  bool duplicates = false;
  bool secondFirst = false;    // overlapped: combined in the other order; else: the other handle
  bool exactRows = false;
  size_t extraRows = 0;
  std::vector<World> worlds;   // captured: one per launch; overlapped: one per handle
};

struct Scenario {
  Case facts;
  bool window = false;
  bool callersMemory = false;  // handles live in memory of the caller
  size_t handles = 1;
  uint64_t shuffle = 0;        // 0 = the order of ranks and tokens
  std::vector<ScenarioStep> steps;
  std::vector<bool> dead;      // masked by all others, from step `deadFrom` on; empty = nobody
  size_t deadFrom = 0;

  std::string describe() const;
};

Scenario drawScenario(Family family, uint64_t seed);

}  // namespace ep_test
