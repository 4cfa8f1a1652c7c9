#include "ep_scenario.h"

#include <algorithm>

namespace ep_test {

namespace {

using Random = std::mt19937_64;

template <class T>
T pick(Random& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

bool chance(Random& random, unsigned oneIn) { return random() % oneIn == 0; }

// 1 to most, small ones more often.
int few(Random& random, int most) {
  const double unit = std::uniform_real_distribution<double>(0.0, 1.0)(random);
  return 1 + std::min(most - 1, static_cast<int>(unit * unit * most));
}

bool powerOfTwo(int value) { return (value & (value - 1)) == 0; }

// The rules of 2.6, 2.10 and 3.10.
bool allowed(const Case& facts) {
  const auto tokens = static_cast<int>(facts.maxTokens);
  if (facts.topk > facts.experts) return false;
  if (facts.ll) return facts.experts >= 2 && facts.topk <= 31;
  if (facts.experts / facts.teams % 4 != 0 || tokens * facts.ranks / facts.teams % 4 != 0) return false;
  if (facts.mode == Mode::Permute) return true;
  // At most 8 experts per token and rank are added up by the receiver.
  const bool fits = facts.mode != Mode::LocalDup || std::min(facts.topk, facts.local()) <= 8;
  return !facts.expertMajor() || (powerOfTwo(facts.local()) && tokens * facts.topk % 4 == 0 && fits);
}

void drawShape(Random& random, Case& facts, bool several) {
  do {
    if (several) facts.teams = pick(random, {2, 2, 3, 4});
    facts.ranks = several ? facts.teams * few(random, 16 / facts.teams) : few(random, 16);
    facts.experts = facts.ranks * few(random, 12);
    facts.topk = few(random, 10);
    facts.maxTokens = static_cast<size_t>(few(random, facts.ranks > 8 ? 12 : 30));
  } while (!allowed(facts));
}

void drawRecipe(Random& random, Case& facts, bool windows) {
  facts.type = pick(random, {ncclBfloat16, ncclBfloat16, ncclFloat16, ncclFloat32});
  if (chance(random, 3)) {
    facts.recipe = NCCL_EP_DISP_QUANT_FWD;
    facts.wire = pick(random, {ncclFloat8e4m3, ncclFloat8e5m2, ncclFloat4x2, ncclBfloat16, ncclFloat16, ncclFloat32});
    facts.type = bytesOf(facts.wire) == 1 ? ncclBfloat16 : facts.wire;
    facts.scaleType = pick(random, {ncclFloat32, ncclFloat16, ncclBfloat16, ncclFloat8e4m3, ncclFloat8e5m2, ncclUint8});
    facts.scaleWidth = 16 / bytesOf(facts.scaleType) * (1 + random() % 3);
  } else if (facts.ll && !windows && chance(random, 4)) {
    facts.recipe = NCCL_EP_DISP_QUANT_DS_FP8E3M4;
    facts.type = ncclBfloat16;
    facts.scaleType = ncclFloat32;
    facts.scaleWidth = facts.hidden / 128;
    facts.roundScales = chance(random, 2);
  }
}

// What the largest receiver needs, over all steps.
size_t needed(const Scenario& scenario) {
  int64_t most = 0;
  for (const ScenarioStep& step : scenario.steps) {
    for (const World& world : step.worlds) {
      for (const HtLayout& layout : world.layouts) most = std::max({most, layout.received, layout.total});
    }
  }
  return static_cast<size_t>(most);
}

void drawBudget(Random& random, Scenario& scenario, bool eager) {
  Case& facts = scenario.facts;
  if (eager) return;
  const size_t worst = static_cast<size_t>(facts.ranks) * facts.maxTokens * static_cast<size_t>(facts.topk);
  const size_t slack = static_cast<size_t>(facts.local()) * (facts.alignment - 1);
  // 2.6: the modes that duplicate rows must have room for all, unless they do so for the sake of windows.
  const bool demandsAll = facts.mode != Mode::Permute && !facts.zeroCopy;
  const size_t least = std::max(facts.maxTokens, demandsAll ? worst : 0);
  facts.drop = chance(random, 4);
  if (facts.drop) {
    facts.maxReceive = least + random() % (worst + slack + 1);
    if (facts.mode != Mode::Permute) {
      facts.maxReceive = (facts.maxReceive + facts.alignment - 1) / facts.alignment * facts.alignment;
    }
  } else {
    facts.maxReceive = std::max(least, needed(scenario)) + (chance(random, 2) ? 0 : random() % 20);
  }
}

bool overfillsAZone(const World& world) {
  const size_t room = static_cast<size_t>(world.facts.ranks) * world.facts.maxTokens;
  for (int r = 0; world.facts.ll && world.facts.expertMajor() && r < world.facts.ranks; ++r) {
    for (const auto& zone : llZones(world, r)) {
      if (zone.size() > room) return true;
    }
  }
  return false;
}

ScenarioStep drawStep(Random& random, const Scenario& scenario, bool eager) {
  const Case& facts = scenario.facts;
  ScenarioStep step;
  step.manner = pick(random, {Manner::Whole, Manner::Staged, Manner::Captured, Manner::Overlapped});
  const bool cannotOverlap = scenario.handles < 2;
  if ((eager && step.manner == Manner::Captured) || (cannotOverlap && step.manner == Manner::Overlapped)) {
    step.manner = Manner::Whole;
  }
  step.backward = !facts.ll && chance(random, 3);
  step.duplicates = chance(random, 4);
  step.secondFirst = chance(random, 2);
  step.exactRows = eager && !scenario.window && chance(random, 2);  // windows are of one size on all ranks
  step.extraRows = chance(random, 2) ? 0 : random() % 4;
  const double skew = pick(random, {1.0, 1.0, 2.5, 6.0});
  const size_t worlds = step.manner == Manner::Captured || step.manner == Manner::Overlapped ? 2 : 1;
  while (step.worlds.size() < worlds) {
    World world = randomWorld(facts, random, step.duplicates, skew);
    if (overfillsAZone(world)) continue;
    world.unweighted = step.backward;
    if (step.manner == Manner::Captured) pad(world);
    step.worlds.push_back(std::move(world));
  }
  return step;
}

void drawDead(Random& random, Scenario& scenario) {
  const Case& facts = scenario.facts;
  if (!facts.ll || facts.ranks < 2 || !chance(random, 5)) return;
  scenario.dead.assign(static_cast<size_t>(facts.ranks), false);
  const size_t survivor = random() % scenario.dead.size();
  for (size_t r = 0; r < scenario.dead.size(); ++r) scenario.dead[r] = r != survivor && chance(random, 3);
  scenario.deadFrom = random() % scenario.steps.size();
}

}  // namespace

Scenario drawScenario(Family family, uint64_t seed) {
  Random random(seed);
  Scenario scenario;
  Case& facts = scenario.facts;
  facts.release020 = family == Family::Release020;
  const bool several = family == Family::SeveralTeams;
  facts.ll = family == Family::LowLatency || ((facts.release020 || several) && chance(random, 4));
  facts.layout = facts.ll ? pick(random, {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR})
                          : pick(random, {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_FLAT});
  scenario.window = facts.ll ? !facts.expertMajor() && chance(random, 3) : chance(random, 3);
  facts.zeroCopy = scenario.window && chance(random, 2) && !(several && facts.ll);
  if (!facts.ll) {
    facts.mode = pick(random, {Mode::Permute, Mode::Permute, Mode::LocalDup, Mode::NvlinkDup});
    if (facts.zeroCopy && facts.mode == Mode::Permute) facts.mode = several ? Mode::NvlinkDup : Mode::LocalDup;
  }
  drawShape(random, facts, several);
  facts.idType = pick(random, {ncclInt32, ncclInt64});
  facts.hidden = facts.ll ? pick<size_t>(random, {512, 512, 512, 1024}) : pick<size_t>(random, {16, 32, 48, 112, 256});
  facts.globalIds = chance(random, 2);
  drawRecipe(random, facts, scenario.window);
  const bool eager = !facts.ll && chance(random, 3) &&
                     (facts.mode == Mode::Permute || facts.zeroCopy || facts.recipe == NCCL_EP_DISP_QUANT_NONE);
  if (!facts.ll && facts.expertMajor()) facts.alignment = pick<size_t>(random, {1, 1, 2, 4, 16});
  scenario.handles = 1 + random() % 2;
  scenario.callersMemory = chance(random, 3);
  scenario.shuffle = chance(random, 2) ? 0 : 1 + random() % 1000;
  for (size_t steps = 2 + random() % 2; steps > 0; --steps) {
    scenario.steps.push_back(drawStep(random, scenario, eager));
    // Without a budget there is no room for padding backward (5.10), nor in the modes that duplicate rows (4.5).
    if (eager && (scenario.steps.back().backward || facts.mode != Mode::Permute)) facts.alignment = 1;
  }
  const auto settle = [&] {
    for (ScenarioStep& step : scenario.steps) {
      for (World& world : step.worlds) {
        world.facts = facts;
        if (!facts.ll) world.layouts = htLayouts(world);
      }
    }
  };
  settle();
  if (!facts.ll) {
    drawBudget(random, scenario, eager);
    settle();
  }
  drawDead(random, scenario);
  return scenario;
}

std::string Scenario::describe() const {
  const char* const manners[] = {"whole", "staged", "captured", "overlapped"};
  std::string text = facts.describe() + (window ? ", windows" : "") + (callersMemory ? ", caller's memory" : "") +
                     ", handles " + std::to_string(handles) + ", shuffle " + std::to_string(shuffle) + ":";
  for (const ScenarioStep& step : steps) {
    text += std::string(" ") + manners[static_cast<int>(step.manner)] + (step.backward ? " backward" : "") +
            (step.duplicates ? " duplicates" : "") + (step.exactRows ? " exact" : "") + ";";
  }
  if (!dead.empty()) text += " dead from step " + std::to_string(deadFrom);
  return text;
}

}  // namespace ep_test
