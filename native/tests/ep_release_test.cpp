// Release 0.2.0: what differs from API v2.
#include "ep_round.h"
#include "held_stream.h"

namespace ep_test {
namespace {

using nccl_test::asThreads;

class EpRelease : public testing::Test {
 protected:
  const Option api_{"api", "0.2.0"};
};

TEST_F(EpRelease, G1Version) {
  int version = 0;
  EXPECT_EP(ncclSuccess, ncclEpGetVersion(&version));
  EXPECT_EQ(200, version);
}

struct LongConfig {
  ncclEpGroupConfig_t known;
  unsigned dispatchSms;
  unsigned combineSms;
};

// Two budgets behind the fields that API v2 knows; a shorter struct has none.
TEST_F(EpRelease, G2MultiprocessorsOfDispatchAndCombine) {
  static_assert(sizeof(LongConfig) == 120);
  const Option report("misuse", "report");
  asThreads(1, [](Rank& rank) {
    const auto answers = [&](unsigned dispatchSms, unsigned combineSms, unsigned size, ncclResult_t code) {
      LongConfig config{lowLatency(1024, 8, 1024), dispatchSms, combineSms};
      config.known.size = size;
      ncclEpGroup_t group = nullptr;
      EXPECT_EP(code, ncclEpCreateGroup(&group, rank.comm, &config.known)) << dispatchSms << " " << combineSms;
      if (code == ncclSuccess) {
        EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group));
      }
    };
    answers(0, 0, 120, ncclSuccess);
    answers(132, 132, 120, ncclSuccess);
    answers(133, 0, 120, ncclInvalidUsage);
    answers(0, 133, 120, ncclInvalidUsage);
    answers(133, 133, 112, ncclSuccess);  // not read
    answers(73, 132, 120, ncclInvalidUsage);  // 1024 experts on 73 make 15 warp groups
    answers(132, 73, 120, ncclInvalidUsage);
    answers(74, 74, 120, ncclSuccess);
    const Option older("api", "2");
    answers(133, 133, 120, ncclSuccess);  // an unknown tail
  });
}

// The version of NCCL is the first thing that is looked at: no other rank is waited for.
TEST_F(EpRelease, G5NcclThatNcclEpWasBuiltWith) {
  static_assert(NCCL_VERSION_CODE == 23007);
  asThreads(2, [](Rank& rank) {
    if (rank.rank != 0) return;
    const auto answer = [&](const char* built) {
      const Option option("built_nccl", built);
      const ncclEpGroupConfig_t config = lowLatency(8, 8, 1024);
      ncclEpGroup_t group = nullptr;
      EXPECT_EP(ncclInvalidUsage, ncclEpCreateGroup(&group, rank.comm, &config));
      return std::string(ncclGetLastError(rank.comm));
    };
    EXPECT_EQ("NCCL EP was built with NCCL 2.31.2 and NCCL 2.30.7 runs, which are incompatible: load NCCL 2.31.2 or newer",
              answer("23102"));
    EXPECT_EQ("NCCL EP was built with NCCL 2.30.5 and NCCL 2.30.7 runs, which are incompatible: load NCCL 2.30.5, or set "
              "NCCL_DEV_API_JIT=1",
              answer("23005"));
    const EnvironmentVariable told("NCCL_DEV_API_JIT", "1");
    EXPECT_EQ("NCCL EP was built with NCCL 2.30.4 and NCCL 2.30.7 runs, which are incompatible: load NCCL 2.30.4",
              answer("23004"));
  });
  const auto succeeds = [](const char* built, const char* version) {
    const Option option("built_nccl", built), api("api", version);
    const EnvironmentVariable told("NCCL_DEV_API_JIT", "1");
    asThreads(2, [](Rank& rank) { const Group group(rank, lowLatency(8, 8, 1024)); });
  };
  succeeds("23007", "0.2.0");
  succeeds("23006", "0.2.0");
  succeeds("23102", "2");  // API v2 does not ask
}

Case flatCase() {
  Case facts;
  facts.ll = false;
  facts.layout = NCCL_EP_LAYOUT_FLAT;
  facts.ranks = 2;
  facts.maxTokens = 8;
  facts.maxReceive = 40;
  facts.hidden = 64;
  facts.release020 = true;
  return facts;
}

// A captured dispatch overwrites every row of the budget, also those that no staging of API v2 holds.
TEST_F(EpRelease, G3RowsBehindTheCountOfACapturedDispatch) {
  const Case facts = flatCase();
  std::mt19937_64 random(13);
  World world = randomWorld(facts, random);
  pad(world);
  asThreads(facts.ranks, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    RoundOptions options;
    options.captured = true;
    Round round(rank, handle, facts, facts.maxTokens, options);
    round.load(world);
    Captured graph(rank, [&] { round.all(); });
    round.spoil();
    graph.launch(rank);
    synchronize(rank);
    round.check(world);
    const size_t rowBytes = facts.hidden * 2, used = htLayout(world, rank.rank).flat.size();
    const auto bytes = round.received().read<unsigned char>();
    ASSERT_LT(used, facts.maxReceive);
    for (size_t i = used * rowBytes; i < facts.maxReceive * rowBytes; ++i) {
      ASSERT_NE(0, bytes[i]);
      ASSERT_NE(0x5a, bytes[i]);
    }
  });
}

// With a budget no dispatch waits for the counts.
TEST_F(EpRelease, G4DispatchWithoutHostWaits) {
  Case facts = flatCase();
  facts.ranks = 1;
  std::mt19937_64 random(14);
  const World world = randomWorld(facts, random);
  asThreads(1, [&](Rank& rank) {
    Group group(rank, groupConfig(facts));
    Handle handle(group, facts.layout, facts.topk);
    Round round(rank, handle, world);
    round.load(world);
    HeldStream held(rank.stream);
    EXPECT_EP(ncclSuccess, round.update());
    EXPECT_EP(ncclSuccess, round.dispatch());
    EXPECT_EQ(0u, held.waits());
    held.open();
    synchronize(rank);
  });
}

}  // namespace
}  // namespace ep_test
