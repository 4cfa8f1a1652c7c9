// The Team that other rooms build upon.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "nccl/communicator.h"
#include "nccl/process.h"
#include "nccl_harness.h"

namespace nccl_test {
namespace {

using emu::Team;
using emu::TeamResult;

void useTeam(Rank& self) {
  Team& team = *emu::communicator(self.comm)->team;
  EXPECT_EQ(self.rank, team.rank());
  EXPECT_EQ(self.size, team.size());
  EXPECT_EQ(TeamResult::Ok, team.barrier(emu::waitLimit()));
  for (const size_t bytes : {size_t{1}, size_t{24}, size_t{4096}}) {
    const std::vector<unsigned char> mine(bytes, static_cast<unsigned char>(self.rank + 1));
    std::vector<unsigned char> all(bytes * static_cast<size_t>(self.size));
    EXPECT_EQ(TeamResult::Ok, team.allGather(mine.data(), all.data(), bytes, emu::waitLimit()));
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(i / bytes + 1, all[i]);
  }
  // Segments of different sizes, one of them empty.
  std::vector<std::shared_ptr<emu::Segment>> segments;
  const auto sizeOf = [](int rank) { return static_cast<size_t>(rank) * 100'000; };
  ASSERT_EQ(TeamResult::Ok, team.shareSegments(sizeOf(self.rank), &segments, emu::waitLimit()));
  ASSERT_EQ(static_cast<size_t>(self.size), segments.size());
  for (int rank = 0; rank < self.size; ++rank) EXPECT_EQ(sizeOf(rank), segments[static_cast<size_t>(rank)]->bytes());
  // Everyone writes into its place of everyone's segment.
  for (int rank = 1; rank < self.size; ++rank) {
    unsigned char* place = segments[static_cast<size_t>(rank)]->data() + self.rank;
    EXPECT_EQ(0, *place);
    *place = static_cast<unsigned char>(10 * rank + self.rank);
  }
  EXPECT_EQ(TeamResult::Ok, team.barrier(emu::waitLimit()));
  for (int rank = 0; rank < self.size; ++rank) EXPECT_TRUE(team.alive(rank));
  for (int rank = 0; rank < self.size && self.rank > 0; ++rank) {
    EXPECT_EQ(10 * self.rank + rank, segments[static_cast<size_t>(self.rank)]->data()[rank]);
  }
  EXPECT_EQ(TeamResult::Ok, team.barrier(emu::waitLimit()));
  EXPECT_FALSE(team.alive(-1));
  EXPECT_FALSE(team.alive(self.size));
  EXPECT_FALSE(team.aborted());
}

const RoleOf teamRole("team", [](const std::vector<std::string>& parameters) {
  const ncclUniqueId id = fromHex(parameters.at(0));
  const int first = std::stoi(parameters.at(1));
  onThreads(std::stoi(parameters.at(2)), [&](int i) { asRank(id, 4, first + i, useTeam); });
});

TEST(NcclTeam, Threads) {
  const Holdings before;
  asThreads(4, useTeam);
  asThreads(1, useTeam);
  before.expectUnchanged();
}

TEST(NcclTeam, ThreadsAndProcesses) {
  const ncclUniqueId id = makeId();
  Child child("team", {toHex(id), "2", "2"});
  onThreads(2, [&](int rank) { asRank(id, 4, rank, useTeam); });
  EXPECT_EQ(0, child.join());
}

TEST(NcclTeam, ThreadsOfOneProcessShareMappings) {
  asThreads(2, [](Rank& self) {
    Team& team = *emu::communicator(self.comm)->team;
    std::vector<std::shared_ptr<emu::Segment>> segments;
    ASSERT_EQ(TeamResult::Ok, team.shareSegments(64, &segments, emu::waitLimit()));
    void* mine[2] = {segments[0]->data(), segments[1]->data()};
    void* all[4];
    ASSERT_EQ(TeamResult::Ok, team.allGather(mine, all, sizeof mine, emu::waitLimit()));
    EXPECT_EQ(all[0], all[2]);
    EXPECT_EQ(all[1], all[3]);
    EXPECT_NE(all[0], all[1]);
  });
}

TEST(NcclTeam, DifferentCallsAreNoticed) {
  const ncclUniqueId id = makeId();
  onThreads(2, [&](int rank) {
    ncclComm_t comm = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 2, id, rank));
    Team& team = *emu::communicator(comm)->team;
    int value = rank;
    int all[2];
    const TeamResult result =
        rank == 0 ? team.barrier(emu::waitLimit()) : team.allGather(&value, all, sizeof value, emu::waitLimit());
    EXPECT_EQ(TeamResult::Mismatch, result);
    EXPECT_NE(std::string::npos, team.explain().find("a barrier")) << team.explain();
    EXPECT_NE(std::string::npos, team.explain().find("an all-gather (4 B)")) << team.explain();
    EXPECT_EQ(TeamResult::Mismatch, team.barrier(emu::waitLimit())) << "nothing works any more";
    EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
  });
}

TEST(NcclTeam, ADeadlineNamesWhoIsMissing) {
  const ncclUniqueId id = makeId();
  onThreads(3, [&](int rank) {
    ncclComm_t comm = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 3, id, rank));
    Team& team = *emu::communicator(comm)->team;
    if (rank == 1) {
      EXPECT_EQ(TeamResult::Timeout, team.barrier(emu::now() + 30'000'000));
      EXPECT_NE(std::string::npos, team.explain().find("for ranks 0 and 2")) << team.explain();
    } else {
      // Learns that rank 1 has given up, although its own deadline is far.
      ncclResult_t state = ncclSuccess;
      while (state == ncclSuccess) EXPECT_NCCL(ncclSuccess, ncclCommGetAsyncError(comm, &state));
      EXPECT_EQ(TeamResult::PeerDied, team.barrier(emu::waitLimit()));
    }
    EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
  });
}

TEST(NcclTeam, AbortEndsABarrier) {
  const ncclUniqueId id = makeId();
  onThreads(2, [&](int rank) {
    ncclComm_t comm = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 2, id, rank));
    const std::shared_ptr<Team> team = emu::communicator(comm)->team;
    if (rank == 0) {
      std::thread watchdog([&] { EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm)); });
      EXPECT_EQ(TeamResult::Aborted, team->barrier(emu::waitLimit()));
      watchdog.join();
      EXPECT_TRUE(team->aborted());
    } else {
      while (team->alive(0)) std::this_thread::yield();
      // Rank 0 may have come to the barrier before it gave up; it comes to no other.
      TeamResult result = team->barrier(emu::waitLimit());
      if (result == TeamResult::Ok) result = team->barrier(emu::waitLimit());
      EXPECT_EQ(TeamResult::PeerDied, result);
      EXPECT_NE(std::string::npos, team->explain().find("rank 0 aborted")) << team->explain();
      EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
    }
  });
}

const RoleOf sleeper("sleeper", [](const std::vector<std::string>& parameters) {
  asRank(fromHex(parameters.at(0)), 2, 1, [](Rank&) {
    tellParent();
    for (;;) pause();
  });
});

TEST(NcclTeam, ADeadProcessIsNotAlive) {
  const ncclUniqueId id = makeId();
  Child child("sleeper", {toHex(id)});
  ncclComm_t comm = nullptr;
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 2, id, 0));
  ASSERT_TRUE(child.awaitWord());
  Team& team = *emu::communicator(comm)->team;
  EXPECT_TRUE(team.alive(1));
  child.kill();
  // Noticed while it is still a zombie.
  const uint64_t limit = emu::now() + 10'000'000'000;
  while (team.alive(1) && emu::now() < limit) std::this_thread::yield();
  EXPECT_FALSE(team.alive(1));
  EXPECT_EQ(TeamResult::PeerDied, team.barrier(emu::waitLimit()));
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
}

TEST(NcclProcess, AnIdThatIsUsedAgainIsAnotherProcess) {
  const emu::ProcessIdentity here = emu::self();
  EXPECT_EQ(getpid(), here.pid);
  EXPECT_TRUE(emu::exists(here));
  EXPECT_FALSE(emu::exists({here.pid, here.started + 1}));
  EXPECT_FALSE(emu::exists({-1, 0}));
}

TEST(NcclProcess, IsNotTakenForDeadWhenNoFileIsLeftToLookWith) {
  const emu::ProcessIdentity here = emu::self();
  const emu::ProcessIdentity other{getppid(), 0};
  EXPECT_FALSE(emu::exists(other)) << "it has another start";
  std::atomic<bool> begun{false};
  std::atomic<bool> without{false};
  std::atomic<bool> looked{false};
  bool same = false;
  std::thread thread([&] {
    begun = true;
    while (!without) std::this_thread::yield();
    same = emu::self() == here && emu::exists(here);
    looked = true;
    while (without) std::this_thread::yield();
  });
  // A sanitizer needs files to look at a thread that begins or ends.
  while (!begun) std::this_thread::yield();
  rlimit limit{};
  EXPECT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
  const rlimit none{0, limit.rlim_max};
  const int lowered = setrlimit(RLIMIT_NOFILE, &none);
  const int opened = dup(0);
  const bool otherExists = emu::exists(other);
  without = true;
  while (!looked) std::this_thread::yield();
  const int raised = setrlimit(RLIMIT_NOFILE, &limit);
  without = false;
  thread.join();
  EXPECT_EQ(0, lowered);
  EXPECT_EQ(0, raised);
  EXPECT_EQ(-1, opened);
  EXPECT_TRUE(otherExists);
  EXPECT_TRUE(same);
}

}  // namespace
}  // namespace nccl_test
