// N4: the host side of NCCL's device interface.
#include <array>

#include "nccl_harness.h"

namespace nccl_test {
namespace {

constexpr size_t kPage = 4096;

TEST(N4Teams, AreTheWholeOnOneNode) {
  asThreads(3, [](Rank& self) {
    for (const ncclTeam_t team : {ncclTeamWorld(self.comm), ncclTeamLsa(self.comm)}) {
      EXPECT_EQ(3, team.nRanks);
      EXPECT_EQ(self.rank, team.rank);
      EXPECT_EQ(1, team.stride);
    }
    const ncclTeam_t rail = ncclTeamRail(self.comm);
    EXPECT_EQ(1, rail.nRanks);
    EXPECT_EQ(0, rail.rank);
    EXPECT_EQ(3, rail.stride);
  });
  EXPECT_EQ(0, ncclTeamWorld(nullptr).nRanks);
}

TEST(N4CommProperties, TellWhatTheCommunicatorIs) {
  asThreads(2, [](Rank& self) {
    ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
    ASSERT_NCCL(ncclSuccess, ncclCommQueryProperties(self.comm, &properties));
    EXPECT_EQ(self.rank, properties.rank);
    EXPECT_EQ(2, properties.nRanks);
    EXPECT_EQ(self.rank, properties.cudaDev);
    EXPECT_EQ(1, properties.deviceApiSupport);
    EXPECT_EQ(1, properties.nLsaTeams);
    EXPECT_EQ(NCCL_GIN_TYPE_NONE, properties.ginType);
    // A program that knows less of the struct gets no more than it knows.
    ncclCommProperties_t older = NCCL_COMM_PROPERTIES_INITIALIZER;
    older.size = offsetof(ncclCommProperties_t, cudaDev);
    older.cudaDev = -5;
    ASSERT_NCCL(ncclSuccess, ncclCommQueryProperties(self.comm, &older));
    EXPECT_EQ(2, older.nRanks);
    EXPECT_EQ(-5, older.cudaDev);
    older.magic = 0;
    EXPECT_NCCL(ncclInvalidArgument, ncclCommQueryProperties(self.comm, &older));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommQueryProperties(self.comm, nullptr));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommQueryProperties(nullptr, &properties));
  });
}

// Runs of ranks on one host have a common divisor, which NCCL_LSA_TEAM_SIZE makes smaller.
TEST(N4Teams, FollowTheHosts) {
  const auto sizes = [](const char* devicesPerHost, int ranks, int size) {
    const Option hosts("host_devices", devicesPerHost);
    asThreads(ranks, [size](Rank& self) {
      const ncclTeam_t world = ncclTeamWorld(self.comm), lsa = ncclTeamLsa(self.comm), rail = ncclTeamRail(self.comm);
      EXPECT_EQ(self.size, world.nRanks);
      EXPECT_EQ(size, lsa.nRanks);
      EXPECT_EQ(self.rank % size, lsa.rank);
      EXPECT_EQ(1, lsa.stride);
      EXPECT_EQ(self.size / size, rail.nRanks);
      EXPECT_EQ(self.rank / size, rail.rank);
      EXPECT_EQ(size, rail.stride);
      ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
      ASSERT_NCCL(ncclSuccess, ncclCommQueryProperties(self.comm, &properties));
      EXPECT_EQ(self.size / size, properties.nLsaTeams);
      const auto gin = size == self.size ? NCCL_GIN_TYPE_NONE : NCCL_GIN_TYPE_GDAKI;
      EXPECT_EQ(gin, properties.ginType);
      EXPECT_EQ(gin, properties.railedGinType);
    });
  };
  sizes("4", 4, 4);
  sizes("2", 4, 2);
  sizes("1", 3, 1);
  sizes("4", 6, 2);  // hosts of 4 and 2
  sizes("4", 5, 1);
  EXPECT_EQ(0, nccl4jEmuSetEnvironment("NCCL_LSA_TEAM_SIZE", "2"));
  sizes("4", 4, 2);
  EXPECT_EQ(0, nccl4jEmuSetEnvironment("NCCL_LSA_TEAM_SIZE", "3"));
  sizes("4", 4, 1);
  sizes("0", 6, 3);
  EXPECT_EQ(0, nccl4jEmuSetEnvironment("NCCL_LSA_TEAM_SIZE", nullptr));
}

TEST(N4PeerPointers, EndWithTheTeam) {
  const Option hosts("host_devices", "2");
  asThreads(4, [](Rank& self) {
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, kPage));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &window, NCCL_WIN_COLL_SYMMETRIC));
    const int team = self.rank / 2;
    for (int peer = 0; peer < 4; ++peer) {
      void* found = &found;
      EXPECT_NCCL(ncclSuccess, ncclGetPeerDevicePointer(window, 8, peer, &found));
      EXPECT_EQ(peer / 2 == team, found != nullptr);
      if (peer / 2 != team) continue;
      void* same = nullptr;
      EXPECT_NCCL(ncclSuccess, ncclGetLsaDevicePointer(window, 8, peer % 2, &same));
      EXPECT_EQ(found, same);
    }
    void* unread = nullptr;
    EXPECT_NCCL(ncclInvalidArgument, ncclGetLsaDevicePointer(window, 8, 2, &unread));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, window));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
}

// Both kinds of windows: N6, default flags reach the peers as well.
TEST(N4PeerPointers, LeadToTheWindowsOfOtherRanks) {
  static std::array<void*, 3> memory;
  for (const int flags : {NCCL_WIN_DEFAULT, NCCL_WIN_COLL_SYMMETRIC}) {
    asThreads(3, [flags](Rank& self) {
      const auto rank = static_cast<size_t>(self.rank);
      ncclWindow_t window = nullptr;
      ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory[rank], 2 * kPage));
      ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory[rank], 2 * kPage, &window, flags));
      for (int peer = 0; peer < 3; ++peer) {
        void* found[2] = {nullptr, nullptr};
        EXPECT_NCCL(ncclSuccess, ncclGetPeerDevicePointer(window, 100, peer, &found[0]));
        EXPECT_NCCL(ncclSuccess, ncclGetLsaDevicePointer(window, 100, peer, &found[1]));
        EXPECT_EQ(static_cast<char*>(memory[static_cast<size_t>(peer)]) + 100, found[0]);
        EXPECT_EQ(found[0], found[1]);
      }
      void* unread = nullptr;
      EXPECT_NCCL(ncclInvalidArgument, ncclGetPeerDevicePointer(window, 0, 3, &unread));
      EXPECT_NCCL(ncclInvalidArgument, ncclGetPeerDevicePointer(window, 0, -1, &unread));
      EXPECT_NCCL(ncclInvalidArgument, ncclGetPeerDevicePointer(window, 2 * kPage, 0, &unread));
      EXPECT_NCCL(ncclInvalidArgument, ncclGetPeerDevicePointer(window, 0, 0, nullptr));
      EXPECT_NCCL(ncclInvalidArgument, ncclGetPeerDevicePointer(nullptr, 0, 0, &unread));
      EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, window));
      EXPECT_NCCL(ncclInvalidArgument, ncclGetPeerDevicePointer(window, 0, 0, &unread)) << "deregistered";
      EXPECT_NCCL(ncclSuccess, ncclMemFree(memory[rank]));
    });
  }
}

TEST(N4PeerPointers, OfAnotherProcessAreRefusedInWords) {
  const ncclUniqueId id = makeId();
  Child other("n4-window", {toHex(id)});
  asRank(id, 2, 0, [](Rank& self) {
    void* memory = nullptr;
    void* found = nullptr;
    ncclWindow_t window = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, kPage));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &window, NCCL_WIN_COLL_SYMMETRIC));
    EXPECT_NCCL(ncclSuccess, ncclGetPeerDevicePointer(window, 0, 0, &found));
    EXPECT_NCCL(ncclInvalidUsage, ncclGetPeerDevicePointer(window, 0, 1, &found));
    EXPECT_NE(std::string::npos, std::string(ncclGetLastError(nullptr)).find("rank 1 is in another process"));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, window));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
  EXPECT_EQ(0, other.join());
}

const RoleOf window("n4-window", [](const std::vector<std::string>& parameters) {
  asRank(fromHex(parameters[0]), 2, 1, [](Rank& self) {
    void* memory = nullptr;
    ncclWindow_t made = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclMemAlloc(&memory, kPage));
    ASSERT_NCCL(ncclSuccess, ncclCommWindowRegister(self.comm, memory, kPage, &made, NCCL_WIN_COLL_SYMMETRIC));
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(self.comm, made));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory));
  });
});

// R13: what counts is the device, not the number that each process has for it.
TEST(R13VisibleDevicesOfProcesses, AreComparedAsDevicesOfTheMachine) {
  const auto join = [](const char* visible, ncclResult_t expected) {
    const ncclUniqueId id = makeId();
    setenv("CUDA_VISIBLE_DEVICES", visible, 1);
    Child other("r13-join", {toHex(id), std::to_string(expected)});
    unsetenv("CUDA_VISIBLE_DEVICES");
    ncclComm_t comm = nullptr;
    EXPECT_CUDA(cudaSuccess, cudaSetDevice(0));
    EXPECT_NCCL(expected, ncclCommInitRank(&comm, 2, id, 0));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
    EXPECT_EQ(0, other.join());
  };
  join("1", ncclSuccess);
  join("0", ncclInvalidUsage);
}

const RoleOf joins("r13-join", [](const std::vector<std::string>& parameters) {
  ncclComm_t comm = nullptr;
  EXPECT_CUDA(cudaSuccess, cudaSetDevice(0));
  EXPECT_EQ(std::stoi(parameters[1]), static_cast<int>(ncclCommInitRank(&comm, 2, fromHex(parameters[0]), 1)));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
});

}  // namespace
}  // namespace nccl_test
