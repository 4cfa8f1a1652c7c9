// Ranks finding each other.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "nccl/arena.h"
#include "nccl/shared_memory.h"
#include "nccl_harness.h"

namespace nccl_test {
namespace {

// Looks into the arena of an id made by this process until `count` ranks have taken their seats.
void awaitArrivals(const ncclUniqueId& id, int count) {
  emu::MemoryAddress address;
  memcpy(&address, id.internal + sizeof emu::arena::kMagic + emu::arena::kNonceBytes, sizeof address);
  std::string why;
  const auto memory = emu::SharedMemory::map(address, &why);
  ASSERT_NE(nullptr, memory) << why;
  while (emu::arena::control(memory->data()).arrived.load() < count) std::this_thread::yield();
}

std::string lastError() { return ncclGetLastError(nullptr); }

void expectText(const std::string& part) { EXPECT_NE(std::string::npos, lastError().find(part)) << lastError(); }

ncclResult_t initOn(int device, ncclComm_t* comm, int size, const ncclUniqueId& id, int rank) {
  EXPECT_CUDA(cudaSuccess, cudaSetDevice(device));
  return ncclCommInitRank(comm, size, id, rank);
}

TEST(NcclInit, OneRank) {
  asThreads(1, [](Rank& self) {
    int value = -1;
    EXPECT_NCCL(ncclSuccess, ncclCommCount(self.comm, &value));
    EXPECT_EQ(1, value);
    Buffer<int> in(std::vector<int>{7, 8});
    Buffer<int> out(2);
    EXPECT_NCCL(ncclSuccess, ncclAllGather(in.data(), out.data(), 2, ncclInt32, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ((std::vector<int>{7, 8}), out.read());
  });
}

TEST(NcclInit, SixtyFourThreads) {
  asThreads(64, [](Rank& self) {
    int count = -1;
    int rank = -1;
    int device = -1;
    EXPECT_NCCL(ncclSuccess, ncclCommCount(self.comm, &count));
    EXPECT_NCCL(ncclSuccess, ncclCommUserRank(self.comm, &rank));
    EXPECT_NCCL(ncclSuccess, ncclCommCuDevice(self.comm, &device));
    EXPECT_EQ(64, count);
    EXPECT_EQ(self.rank, rank);
    EXPECT_EQ(self.rank, device);
    Buffer<int> in(std::vector<int>{self.rank * 3});
    Buffer<int> out(64);
    EXPECT_NCCL(ncclSuccess, ncclAllGather(in.data(), out.data(), 1, ncclInt32, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    const std::vector<int> got = out.read();
    for (int i = 0; i < 64; ++i) EXPECT_EQ(i * 3, got[static_cast<size_t>(i)]);
  });
}

void gatherRanks(Rank& self) {
  Buffer<int> in(std::vector<int>{self.rank + 100});
  Buffer<int> out(static_cast<size_t>(self.size));
  EXPECT_NCCL(ncclSuccess, ncclAllGather(in.data(), out.data(), 1, ncclInt32, self.comm, self.stream));
  EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
  const std::vector<int> got = out.read();
  for (int i = 0; i < self.size; ++i) EXPECT_EQ(i + 100, got[static_cast<size_t>(i)]);
}

// Several ranks of one communicator in a process: parameters are the id, the size, the first rank, and the number of
// ranks.
const RoleOf someRanks("some-ranks", [](const std::vector<std::string>& parameters) {
  const ncclUniqueId id = fromHex(parameters.at(0));
  const int size = std::stoi(parameters.at(1));
  const int first = std::stoi(parameters.at(2));
  onThreads(std::stoi(parameters.at(3)), [&](int i) { asRank(id, size, first + i, gatherRanks); });
});

TEST(NcclInit, FourProcesses) {
  const ncclUniqueId id = makeId();
  std::vector<Child> children;
  for (int rank = 0; rank < 4; ++rank) {
    children.emplace_back("some-ranks", std::vector<std::string>{toHex(id), "4", std::to_string(rank), "1"});
  }
  for (Child& child : children) EXPECT_EQ(0, child.join());
}

TEST(NcclInit, ThreadsAndProcessesMixed) {
  const ncclUniqueId id = makeId();
  std::vector<Child> children;
  children.emplace_back("some-ranks", std::vector<std::string>{toHex(id), "8", "3", "2"});
  children.emplace_back("some-ranks", std::vector<std::string>{toHex(id), "8", "5", "3"});
  onThreads(3, [&](int rank) { asRank(id, 8, rank, gatherRanks); });
  for (Child& child : children) EXPECT_EQ(0, child.join());
}

TEST(NcclInit, SixtyFourProcesses) {
  const ncclUniqueId id = makeId();
  std::vector<Child> children;
  for (int rank = 0; rank < 64; ++rank) {
    children.emplace_back("some-ranks", std::vector<std::string>{toHex(id), "64", std::to_string(rank), "1"});
  }
  for (Child& child : children) EXPECT_EQ(0, child.join());
}

TEST(NcclInit, LeavesNothingBehind) {
  asThreads(2, gatherRanks);  // whatever is made once
  const Holdings before;
  for (int i = 0; i < 5; ++i) asThreads(3, gatherRanks);
  before.expectUnchanged();
}

TEST(NcclInit, IdsOfRanksThatMetElsewhereAreGivenUp) {
  const Holdings before;
  for (int i = 0; i < 3; ++i) {
    const ncclUniqueId id = makeId();
    Child child("some-ranks", {toHex(id), "2", "0", "2"});
    EXPECT_EQ(0, child.join());
  }
  before.expectUnchanged();
}

TEST(NcclInit, BadArguments) {
  const Holdings before;
  ncclComm_t comm = nullptr;
  const ncclUniqueId id = makeId();
  EXPECT_NCCL(ncclInvalidArgument, ncclGetUniqueId(nullptr));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(nullptr, 1, id, 0));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(&comm, 0, id, 0));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(&comm, -1, id, 0));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(&comm, 2, id, 2));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(&comm, 2, id, -1));
  EXPECT_NCCL(ncclInvalidUsage, ncclCommInitRank(&comm, 65, id, 0));
  expectText("at most 64");
  ncclUniqueId zero;
  memset(&zero, 0, sizeof zero);
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(&comm, 1, zero, 0));
  expectText("ncclGetUniqueId");
  EXPECT_EQ(nullptr, comm);
  // None of this has spoilt the id.
  EXPECT_NCCL(ncclSuccess, initOn(0, &comm, 1, id, 0));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
  before.expectUnchanged();
}

TEST(NcclInit, ForgedIds) {
  const Holdings before;
  ncclComm_t comm = nullptr;
  const ncclUniqueId id = makeId();
  // Every byte of an id may be wrong; no forgery may crash or hang, whatever it answers.
  Option limit("wait_limit_ms", "1");
  for (size_t i = 0; i < sizeof id.internal; ++i) {
    ncclUniqueId forged = id;
    forged.internal[i] = static_cast<char>(forged.internal[i] ^ 0x41);
    const ncclResult_t result = initOn(0, &comm, 2, forged, 0);
    EXPECT_NE(ncclSuccess, result) << i;
    EXPECT_EQ(nullptr, comm) << i;
    if (result == ncclTimeout) break;  // bytes that are not looked at: the id was good, and is used up now
  }
  (void)initOn(0, &comm, 2, id, 0);
  before.expectUnchanged();
}

TEST(NcclInit, AnIdIsForOneUse) {
  const ncclUniqueId id = makeId();
  asRank(id, 1, 0, gatherRanks);
  ncclComm_t comm = nullptr;
  EXPECT_NCCL(ncclInvalidUsage, initOn(0, &comm, 1, id, 0));
  expectText("used up");
  EXPECT_EQ(nullptr, comm);
}

TEST(NcclInit, IdsThatNobodyUsesDoNotPileUp) {
  const ncclUniqueId oldest = makeId();
  const ncclUniqueId waiting = makeId();
  ncclComm_t comm = nullptr;
  std::thread first([&] { EXPECT_NCCL(ncclSuccess, initOn(0, &comm, 2, waiting, 0)); });
  awaitArrivals(waiting, 1);
  ncclUniqueId newest{};
  for (int i = 0; i < 600; ++i) newest = makeId();
  const size_t files = openFiles();
  for (int i = 0; i < 600; ++i) newest = makeId();
  EXPECT_EQ(files, openFiles());
  // One that a rank waits with is kept.
  ncclComm_t second = nullptr;
  EXPECT_NCCL(ncclSuccess, initOn(1, &second, 2, waiting, 1));
  first.join();
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(second));
  asRank(newest, 1, 0, gatherRanks);
  EXPECT_NCCL(ncclInvalidUsage, initOn(0, &comm, 1, oldest, 0));
  expectText("newer ones were made");
}

TEST(NcclInit, TheSameRankTwice) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  std::atomic<int> refused{0};
  std::atomic<int> told{0};
  onThreads(3, [&](int i) {
    ncclComm_t comm = nullptr;
    // Ranks 0, 1, 1 of 3.
    const ncclResult_t result = initOn(i, &comm, 3, id, i == 2 ? 1 : i);
    EXPECT_EQ(ncclInvalidUsage, result) << lastError();
    // Who comes after the failure finds the id used up.
    if (lastError().find("rank 1 came twice") != std::string::npos) ++told;
    if (comm == nullptr) ++refused;
  });
  EXPECT_EQ(3, refused);
  EXPECT_GE(told, 1);
  before.expectUnchanged();
}

TEST(NcclInit, DifferentNumbersOfRanks) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  std::atomic<int> told{0};
  onThreads(2, [&](int rank) {
    ncclComm_t comm = nullptr;
    EXPECT_NCCL(ncclInvalidUsage, initOn(rank, &comm, rank == 0 ? 3 : 2, id, rank));
    if (lastError().find("ranks where another said") != std::string::npos) ++told;
  });
  EXPECT_GE(told, 1);
  before.expectUnchanged();
}

TEST(NcclInit, TwoRanksOnOneDevice) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  onThreads(3, [&](int rank) {
    ncclComm_t comm = nullptr;
    EXPECT_NCCL(ncclInvalidUsage, initOn(rank == 2 ? 0 : rank, &comm, 3, id, rank));
    expectText("ranks 0 and 2 are both on device 0");
  });
  before.expectUnchanged();
  Option shared("shared_devices", "1");
  const ncclUniqueId second = makeId();
  onThreads(2, [&](int rank) {
    ncclComm_t comm = nullptr;
    ASSERT_NCCL(ncclSuccess, initOn(0, &comm, 2, second, rank));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
  });
  before.expectUnchanged();
}

// Parameters: the id, the size, the rank, the device, the expected result.
const RoleOf oneInit("one-init", [](const std::vector<std::string>& parameters) {
  ncclComm_t comm = nullptr;
  const auto expected = static_cast<ncclResult_t>(std::stoi(parameters.at(4)));
  tellParent();
  EXPECT_EQ(expected, initOn(std::stoi(parameters.at(3)), &comm, std::stoi(parameters.at(1)), fromHex(parameters.at(0)),
                             std::stoi(parameters.at(2))))
      << lastError();
});

TEST(NcclInit, TwoProcessesOnOneDevice) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  const std::string invalidUsage = std::to_string(ncclInvalidUsage);
  {
    Child child("one-init", {toHex(id), "2", "1", "5", invalidUsage});
    ncclComm_t comm = nullptr;
    EXPECT_NCCL(ncclInvalidUsage, initOn(5, &comm, 2, id, 0));
    expectText("both on device 5");
    EXPECT_EQ(0, child.join());
  }
  before.expectUnchanged();
}

TEST(NcclInit, TheLimitNamesWhoIsMissing) {
  const Holdings before;
  Option limit("wait_limit_ms", "100");
  const ncclUniqueId id = makeId();
  onThreads(2, [&](int i) {
    const int rank = i == 0 ? 1 : 3;
    ncclComm_t comm = nullptr;
    EXPECT_NCCL(ncclTimeout, initOn(rank, &comm, 5, id, rank));
    expectText("ranks 0, 2 and 4");
    EXPECT_EQ(nullptr, comm);
  });
  before.expectUnchanged();
  // Who comes later learns at once that it is too late.
  ncclComm_t comm = nullptr;
  EXPECT_NCCL(ncclInvalidUsage, initOn(0, &comm, 5, id, 0));
}

TEST(NcclInit, AKilledProcessEndsTheWaitOfTheOthers) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  {
    Child child("one-init", {toHex(id), "3", "2", "2", "0"});
    ASSERT_TRUE(child.awaitWord());
    std::thread killer([&] {
      awaitArrivals(id, 2);
      child.kill();
    });
    Option limit("wait_limit_ms", "20000");
    ncclComm_t comm = nullptr;
    EXPECT_NCCL(ncclRemoteError, initOn(0, &comm, 3, id, 0));
    expectText("rank 2 is dead (process " + std::to_string(child.pid()) + " ended)");
    killer.join();
  }
  before.expectUnchanged();
}

// Makes an id, tells it through a file and ends.
const RoleOf makesAnId("makes-an-id", [](const std::vector<std::string>& parameters) {
  FILE* file = fopen(parameters.at(0).c_str(), "w");
  ASSERT_NE(nullptr, file);
  fputs(toHex(makeId()).c_str(), file);
  fclose(file);
});

TEST(NcclInit, AnIdOfAProcessThatEnded) {
  const std::string path = ::testing::TempDir() + "nccl4j-id-" + std::to_string(getpid());
  Child child("makes-an-id", {path});
  EXPECT_EQ(0, child.join());
  char text[2 * NCCL_UNIQUE_ID_BYTES + 1] = "";
  FILE* file = fopen(path.c_str(), "r");
  ASSERT_NE(nullptr, file);
  EXPECT_NE(nullptr, fgets(text, sizeof text, file));
  fclose(file);
  unlink(path.c_str());
  ncclComm_t comm = nullptr;
  EXPECT_NCCL(ncclRemoteError, initOn(0, &comm, 1, fromHex(text), 0));
  expectText("has ended");
}

TEST(NcclInit, BrokenWaits) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  std::thread breaker([&] {
    awaitArrivals(id, 1);
    EXPECT_EQ(0, nccl4jEmuBreakWaits("the test is over"));
  });
  ncclComm_t comm = nullptr;
  EXPECT_NCCL(ncclSystemError, initOn(0, &comm, 2, id, 0));
  expectText("the test is over");
  breaker.join();
  EXPECT_EQ(0, nccl4jEmuBreakWaits(nullptr));
  before.expectUnchanged();
}

TEST(NcclInit, AllDevicesOfOneProcess) {
  const Holdings before;
  ncclComm_t comms[4] = {};
  const int devices[4] = {3, 1, 7, 0};
  ASSERT_NCCL(ncclSuccess, ncclCommInitAll(comms, 4, devices));
  for (int i = 0; i < 4; ++i) {
    int rank = -1;
    int device = -1;
    EXPECT_NCCL(ncclSuccess, ncclCommUserRank(comms[i], &rank));
    EXPECT_NCCL(ncclSuccess, ncclCommCuDevice(comms[i], &device));
    EXPECT_EQ(i, rank);
    EXPECT_EQ(devices[i], device);
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comms[i]));
  }
  const int twice[2] = {1, 1};
  const int unknown[2] = {1, 64};
  EXPECT_NCCL(ncclInvalidUsage, ncclCommInitAll(comms, 2, twice));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitAll(comms, 2, unknown));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitAll(comms, 0, nullptr));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitAll(nullptr, 1, nullptr));
  before.expectUnchanged();
}

TEST(NcclInit, ScalableWithSeveralIds) {
  ncclUniqueId ids[2] = {makeId(), makeId()};
  onThreads(3, [&](int rank) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t comm = nullptr;
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRankScalable(&comm, 3, rank, 0, ids, &config));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRankScalable(&comm, 3, rank, 2, nullptr, &config));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRankScalable(&comm, 3, rank, 2, ids, &config));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
  });
}

TEST(NcclInit, Configurations) {
  const ncclUniqueId id = makeId();
  ncclComm_t comm = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.magic = 1;
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRankConfig(&comm, 1, id, 0, &config));
  config = NCCL_CONFIG_INITIALIZER;
  config.size = 4;
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRankConfig(&comm, 1, id, 0, &config));
  config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 2;
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRankConfig(&comm, 1, id, 0, &config));
  expectText("config.blocking is 2");
  config = NCCL_CONFIG_INITIALIZER;
  config.minCTAs = 8;
  config.maxCTAs = 4;
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRankConfig(&comm, 1, id, 0, &config));
  EXPECT_EQ(nullptr, comm);
  // The struct of an older version, and that of a newer one.
  config = NCCL_CONFIG_INITIALIZER;
  config.size = offsetof(ncclConfig_t, trafficClass);
  config.trafficClass = -77;
  ASSERT_NCCL(ncclSuccess, ncclCommInitRankConfig(&comm, 1, id, 0, &config));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
  struct Newer {
    ncclConfig_t known;
    int unknown;
  } newer = {NCCL_CONFIG_INITIALIZER, 5};
  newer.known.size = sizeof newer;
  ASSERT_NCCL(ncclSuccess, ncclCommInitRankConfig(&comm, 1, makeId(), 0, &newer.known));
  EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
}

ncclResult_t awaitAsync(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (state == ncclInProgress && std::chrono::steady_clock::now() < end) {
    EXPECT_NCCL(ncclSuccess, ncclCommGetAsyncError(comm, &state));
    std::this_thread::yield();
  }
  return state;
}

TEST(NcclInit, WithoutBlocking) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comms[2] = {};
  for (int rank = 0; rank < 2; ++rank) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclInProgress, ncclCommInitRankConfig(&comms[rank], 2, id, rank, &config));
    ASSERT_NE(nullptr, comms[rank]);
    if (rank == 0) {
      // It cannot be done yet, and must not be used.
      ncclResult_t state = ncclSuccess;
      EXPECT_NCCL(ncclSuccess, ncclCommGetAsyncError(comms[0], &state));
      EXPECT_EQ(ncclInProgress, state);
      int count = 0;
      EXPECT_NCCL(ncclInvalidArgument, ncclCommCount(comms[0], &count));
      EXPECT_NCCL(ncclInvalidArgument, ncclCommDestroy(comms[0]));
    }
  }
  for (ncclComm_t comm : comms) EXPECT_EQ(ncclSuccess, awaitAsync(comm));
  // Every operation answers that it goes on in the background.
  cudaStream_t streams[2];
  std::vector<std::unique_ptr<Buffer<int>>> values;
  for (int rank = 0; rank < 2; ++rank) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&streams[rank]));
    values.push_back(std::make_unique<Buffer<int>>(std::vector<int>{rank + 5}));
  }
  for (int rank = 0; rank < 2; ++rank) {
    int* value = values[static_cast<size_t>(rank)]->data();
    EXPECT_NCCL(ncclInProgress, ncclBroadcast(value, value, 1, ncclInt32, 0, comms[rank], streams[rank]));
    EXPECT_EQ(ncclSuccess, awaitAsync(comms[rank]));
  }
  for (cudaStream_t stream : streams) EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(stream));
  EXPECT_EQ(5, values[1]->read()[0]);
  values.clear();
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_NCCL(ncclInProgress, ncclCommFinalize(comms[rank]));
    EXPECT_EQ(ncclSuccess, awaitAsync(comms[rank]));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comms[rank]));
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(streams[rank]));
  }
  before.expectUnchanged();
}

TEST(NcclInit, AbortWithoutBlocking) {
  const Holdings before;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  ASSERT_NCCL(ncclInProgress, ncclCommInitRankConfig(&comm, 2, makeId(), 0, &config));
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
  ncclResult_t state = ncclSuccess;
  EXPECT_NCCL(ncclInvalidArgument, ncclCommGetAsyncError(comm, &state));
  before.expectUnchanged();
}

TEST(NcclInit, FailureWithoutBlocking) {
  const Holdings before;
  Option limit("wait_limit_ms", "50");
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  ASSERT_NCCL(ncclInProgress, ncclCommInitRankConfig(&comm, 2, makeId(), 0, &config));
  EXPECT_EQ(ncclTimeout, awaitAsync(comm));
  EXPECT_NE(std::string::npos, std::string(ncclGetLastError(comm)).find("rank 1"));
  int count = 0;
  EXPECT_NCCL(ncclTimeout, ncclCommCount(comm, &count));
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
  before.expectUnchanged();
}

TEST(NcclInit, ManyCommunicatorsOfTheSameRanks) {
  asThreads(2, [](Rank& self) {
    ncclComm_t more[8];
    static ncclUniqueId ids[8];
    if (self.rank == 0) {
      for (ncclUniqueId& id : ids) id = makeId();
    }
    gatherRanks(self);  // also the barrier before the ids are read
    for (int i = 0; i < 8; ++i) ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&more[i], 2, ids[i], 1 - self.rank));
    for (const ncclComm_t comm : more) {
      Rank other = self;
      other.comm = comm;
      other.rank = 1 - self.rank;
      gatherRanks(other);
      EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comm));
    }
  });
}

}  // namespace
}  // namespace nccl_test
