// Random configurations against the reference. A failure names its seed; NCCL4J_EP_SEED=seed with NCCL4J_EP_SCENARIOS=1
// runs that one alone, and a larger NCCL4J_EP_SCENARIOS runs more of them.
#include <cstdlib>
#include <optional>

#include "ep_round.h"
#include "ep_scenario.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

uint64_t number(const char* variable, uint64_t normal) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : normal;
}

// Handles, and the memory they live in where that is the caller's.
struct Handles {
  Handles(ncclEpGroup_t group, const Scenario& scenario) {
    const Case& facts = scenario.facts;
    for (size_t i = 0; i < scenario.handles; ++i) {
      if (scenario.callersMemory) {
        size_t bytes = 0;
        EXPECT_EP(ncclSuccess, ncclEpHandleMemSize(group, facts.layout, nullptr, &bytes, facts.topk));
        memory.push_back(std::make_unique<Tensor>(ncclUint8, std::vector<size_t>{bytes}));
      }
      all.push_back(std::make_unique<Handle>(group, facts.layout, facts.topk, facts.alignment,
                                             scenario.callersMemory ? memory[i]->get() : nullptr));
    }
  }
  std::vector<std::unique_ptr<Tensor>> memory;
  std::vector<std::unique_ptr<Handle>> all;
};

void enqueue(Round& round, bool staged) {
  EXPECT_EP(ncclSuccess, round.update());
  EXPECT_EP(ncclSuccess, round.dispatch(staged));
  EXPECT_EP(ncclSuccess, round.complete());
  round.experts();
  EXPECT_EP(ncclSuccess, round.combine(staged));
  EXPECT_EP(ncclSuccess, round.complete());
}

void overlap(const ScenarioStep& step, std::vector<std::unique_ptr<Round>>& rounds) {
  for (auto& round : rounds) EXPECT_EP(ncclSuccess, round->update());
  for (auto& round : rounds) EXPECT_EP(ncclSuccess, round->dispatch());
  for (auto& round : rounds) round->experts();
  for (size_t i = 0; i < rounds.size(); ++i) {
    EXPECT_EP(ncclSuccess, rounds[step.secondFirst ? rounds.size() - 1 - i : i]->combine());
  }
}

void runStep(const Rank& rank, const Handles& handles, const Scenario& scenario, const ScenarioStep& step,
             const std::vector<bool>& dead) {
  RoundOptions options;
  options.window = scenario.window;
  options.anyOrder = scenario.shuffle != 0;
  options.captured = step.manner == Manner::Captured;
  options.backward = step.backward;
  options.byLayout = step.duplicates && !scenario.facts.ll;
  options.exactRows = step.exactRows;
  options.extraRows = step.extraRows;
  options.dead = dead;
  const size_t first = step.secondFirst && scenario.handles > 1 && step.manner != Manner::Overlapped ? 1 : 0;
  std::vector<std::unique_ptr<Round>> rounds;
  for (size_t i = 0; i < (step.manner == Manner::Overlapped ? step.worlds.size() : 1); ++i) {
    rounds.push_back(std::make_unique<Round>(rank, *handles.all[first + i], step.worlds[i], options));
    rounds[i]->load(step.worlds[i]);
    rounds[i]->spoil();
  }
  if (!dead.empty() && dead[rank.rank]) return;
  if (step.manner == Manner::Captured) {
    Captured graph(rank, [&] { enqueue(*rounds[0], step.secondFirst); });
    for (const World& world : step.worlds) {
      rounds[0]->load(world);
      rounds[0]->spoil();
      graph.launch(rank);
      synchronize(rank);
      rounds[0]->check(world);
    }
    return;
  }
  if (step.manner == Manner::Overlapped) {
    overlap(step, rounds);
  } else {
    enqueue(*rounds[0], step.manner == Manner::Staged);
  }
  synchronize(rank);
  for (size_t i = 0; i < rounds.size(); ++i) rounds[i]->check(step.worlds[i]);
}

void runScenario(const Scenario& scenario) {
  const Case& facts = scenario.facts;
  const Option api("api", facts.release020 ? "0.2.0" : "2"), poison("poison", "1"), limit("wait_limit_ms", "60000"),
      misuse("misuse", "report");
  const Option shuffle("shuffle", std::to_string(scenario.shuffle).c_str());
  std::optional<EnvironmentVariable> mode;
  const Option hosts("host_devices", std::to_string(facts.teams == 1 ? 0 : facts.ranks / facts.teams).c_str());
  if (facts.mode == Mode::LocalDup && (!facts.zeroCopy || facts.teams > 1)) mode.emplace("NCCL_EP_HT_EM_LOCAL_DUP", "1");
  if (facts.mode == Mode::NvlinkDup) mode.emplace("NCCL_EP_HT_EM_NVLINK_DUP", "1");
  Barrier barrier(facts.ranks);
  asThreads(facts.ranks, [&](Rank& rank) {
    ncclEpGroupConfig_t config = groupConfig(facts);
    config.enable_mask = scenario.dead.empty() ? 0 : 1;
    Group group(rank, config);
    const Handles handles(group, scenario);
    std::vector<int> mask;
    for (size_t i = 0; i < scenario.steps.size(); ++i) {
      const bool masked = !scenario.dead.empty() && i >= scenario.deadFrom;
      if (masked && mask.empty()) {
        for (const bool gone : scenario.dead) mask.push_back(gone ? 0 : 1);
        EXPECT_EP(ncclSuccess, ncclEpMaskUpdate(group, mask.data(), rank.stream));
        synchronize(rank);
      }
      runStep(rank, handles, scenario, scenario.steps[i], masked ? scenario.dead : std::vector<bool>{});
      barrier.meet();  // what peers write into, or read, is not freed before all are done
    }
  });
}

void run(Family family, uint64_t scenarios) {
  const uint64_t first = number("NCCL4J_EP_SEED", 20250), count = number("NCCL4J_EP_SCENARIOS", scenarios);
  testing::Test::RecordProperty("first_seed", std::to_string(first));
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Scenario scenario = drawScenario(family, seed);
    runScenario(scenario);
    if (!testing::Test::HasFailure()) continue;
    ADD_FAILURE() << "NCCL4J_EP_SEED=" << seed << " NCCL4J_EP_SCENARIOS=1: " << scenario.describe();
    return;
  }
}

TEST(EpRandom, LowLatency) { run(Family::LowLatency, 1200); }
TEST(EpRandom, HighThroughput) { run(Family::HighThroughput, 1200); }
TEST(EpRandom, G1Release020) { run(Family::Release020, 400); }
TEST(EpRandom, T2SeveralTeams) { run(Family::SeveralTeams, 600); }

// The largest number of ranks, on every layout.
TEST(EpRandom, SixtyFourRanks) {
  for (const auto& [ll, layout] : {std::pair{true, NCCL_EP_LAYOUT_EXPERT_MAJOR}, {true, NCCL_EP_LAYOUT_RANK_MAJOR},
                                   {false, NCCL_EP_LAYOUT_FLAT}, {false, NCCL_EP_LAYOUT_EXPERT_MAJOR}}) {
    Scenario scenario;
    Case& facts = scenario.facts;
    facts.ll = ll;
    facts.layout = layout;
    facts.ranks = 64;
    facts.experts = 256;
    facts.topk = 8;
    facts.maxTokens = 4;
    facts.hidden = ll ? 512 : 16;
    facts.alignment = !ll && layout == NCCL_EP_LAYOUT_EXPERT_MAJOR ? 4 : 1;
    facts.maxReceive = ll ? 0 : 64 * 4 * 8 + 16;
    std::mt19937_64 random(64);
    for (const Manner manner : {Manner::Whole, Manner::Staged, Manner::Captured}) {
      ScenarioStep& step = scenario.steps.emplace_back();
      step.manner = manner;
      step.worlds.push_back(randomWorld(facts, random));
      if (manner == Manner::Captured) pad(step.worlds[0]);
      if (!ll) step.worlds[0].layouts = htLayouts(step.worlds[0]);
    }
    runScenario(scenario);
  }
}

}  // namespace
}  // namespace ep_test
