// Random configurations against the reference. A failure prints its seed; NCCL4J_EP_SEED=seed replays it.
#include <algorithm>
#include <cstdlib>

#include "ep_round.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

uint64_t firstSeed() {
  const char* text = std::getenv("NCCL4J_EP_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 20250;
}

size_t repetitions(size_t normal) {
  const char* text = std::getenv("NCCL4J_EP_ROUNDS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : normal;
}

template <class T>
T pick(std::mt19937_64& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

Case randomCase(std::mt19937_64& random, bool ll) {
  Case facts;
  facts.ll = ll;
  facts.layout = ll ? pick(random, {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_RANK_MAJOR})
                    : pick(random, {NCCL_EP_LAYOUT_EXPERT_MAJOR, NCCL_EP_LAYOUT_FLAT});
  facts.ranks = pick(random, {1, 2, 3, 4, 5, 8, 11, 16});
  facts.experts = facts.ranks * pick(random, {4, 8, 12});
  facts.topk = std::min(facts.experts, pick(random, {1, 2, 4, 7}));
  facts.maxTokens = pick<size_t>(random, {4, 8, 12, 28});
  facts.type = pick(random, {ncclBfloat16, ncclFloat16, ncclFloat32});
  facts.idType = pick(random, {ncclInt32, ncclInt64});
  facts.hidden = ll ? 512 : pick<size_t>(random, {8, 24, 120, 256});
  facts.globalIds = random() % 2 == 0;
  if (!ll) {
    facts.alignment = facts.expertMajor() ? pick<size_t>(random, {1, 4, 16}) : 1;
    const size_t everything = static_cast<size_t>(facts.ranks) * facts.maxTokens * static_cast<size_t>(facts.topk) +
                              static_cast<size_t>(facts.local()) * (facts.alignment - 1);
    facts.maxReceive = pick<size_t>(random, {0, everything});
    if (random() % 3 == 0) {
      facts.drop = true;
      facts.maxReceive = facts.maxTokens + random() % (everything - facts.maxTokens + 1);
    }
  }
  return facts;
}

// An expert named twice by a token takes two rows of an LL zone, which has room for one per token of all ranks.
bool overfillsAZone(const World& world) {
  const size_t room = static_cast<size_t>(world.facts.ranks) * world.facts.maxTokens;
  for (int r = 0; world.facts.ll && r < world.facts.ranks; ++r) {
    for (const auto& zone : llZones(world, r)) {
      if (zone.size() > room) return true;
    }
  }
  return false;
}

void runRounds(const Case& facts, uint64_t seed, bool anyOrder) {
  std::mt19937_64 random(seed);
  std::vector<World> worlds;
  std::vector<int> manners;  // 0 whole operations, 1 staged, 2 captured: the same on every rank
  for (int i = 0; i < 4; ++i) manners.push_back(static_cast<int>(random() % 3));
  for (int i = 0; i < 4; ++i) {
    const double skew = i % 2 == 1 ? 3.0 : 1.0;
    World world = randomWorld(facts, random, facts.ll && i == 2, skew);
    while (overfillsAZone(world)) world = randomWorld(facts, random, false, skew);
    worlds.push_back(std::move(world));
  }
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk, facts.alignment);
    for (size_t i = 0; i < worlds.size(); ++i) {
      const World& world = worlds[i];
      const bool captured = manners[i] == 2 && (facts.ll || facts.maxReceive > 0);
      RoundOptions options;
      options.anyOrder = anyOrder;
      options.captured = captured;
      Round round(rank, handle, facts, world.inputs[rank.rank].tokens, options);
      round.load(world);
      round.spoil();
      const auto step = [&](bool staged) {
        EXPECT_EP(ncclSuccess, round.update());
        EXPECT_EP(ncclSuccess, round.dispatch(staged));
        EXPECT_EP(ncclSuccess, round.complete());
        round.experts();
        EXPECT_EP(ncclSuccess, round.combine(staged));
        EXPECT_EP(ncclSuccess, round.complete());
      };
      if (captured) {
        Captured graph(rank, [&] { step(i % 2 == 0); });
        graph.launch(rank);
        synchronize(rank);
        round.spoil();
        graph.launch(rank);
        synchronize(rank);
      } else {
        step(manners[i] == 1);
        synchronize(rank);
      }
      round.check(world);
    }
  });
}

TEST(EpRandom, LowLatency) {
  for (uint64_t i = 0; i < repetitions(25); ++i) {
    const uint64_t seed = firstSeed() + i;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    runRounds(randomCase(random, true), seed, false);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(EpRandom, LowLatencyShuffledAndPoisoned) {
  const Option shuffle("shuffle", "77");
  const Option poison("poison", "1");
  for (uint64_t i = 0; i < repetitions(15); ++i) {
    const uint64_t seed = firstSeed() + i;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    runRounds(randomCase(random, true), seed, true);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(EpRandom, HighThroughput) {
  for (uint64_t i = 0; i < repetitions(25); ++i) {
    const uint64_t seed = firstSeed() + i;
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    runRounds(randomCase(random, false), seed, false);
    if (testing::Test::HasFailure()) return;
  }
}

// The largest number of ranks, on every layout.
TEST(EpRandom, SixtyFourRanks) {
  for (const auto& [ll, layout] : {std::pair{true, NCCL_EP_LAYOUT_EXPERT_MAJOR}, {true, NCCL_EP_LAYOUT_RANK_MAJOR},
                                   {false, NCCL_EP_LAYOUT_FLAT}, {false, NCCL_EP_LAYOUT_EXPERT_MAJOR}}) {
    Case facts;
    facts.ll = ll;
    facts.layout = layout;
    facts.ranks = 64;
    facts.experts = 256;
    facts.topk = 8;
    facts.maxTokens = 4;
    facts.hidden = ll ? 512 : 16;
    facts.alignment = !ll && layout == NCCL_EP_LAYOUT_EXPERT_MAJOR ? 4 : 1;
    facts.maxReceive = ll ? 0 : 64 * 4 * 8 + 16;
    runRounds(facts, 64, false);
  }
}

}  // namespace
}  // namespace ep_test
