// What happens to the others when the process of a rank is killed.
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "nccl_failure_support.h"

namespace nccl_test {
namespace {

// Parameters: the id, the size, the rank, and how it waits.
const RoleOf waits("waits", [](const std::vector<std::string>& parameters) {
  const int rank = std::stoi(parameters.at(2));
  asRank(fromHex(parameters.at(0)), std::stoi(parameters.at(1)), rank, [&](Rank& self) {
    Buffer<int> value(std::vector<int>{1});
    Buffer<int> sum(1);
    // Something that works first: all ranks are really there.
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), sum.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    if (parameters.at(3) == "receive") {
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
      tellParent();
    } else {
      tellParent();
      for (;;) pause();
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
  });
});

class NcclKilled : public ::testing::TestWithParam<const char*> {};

TEST_P(NcclKilled, TheOthersLearnOfIt) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  {
    Child child("waits", {toHex(id), "3", "2", GetParam()});
    std::atomic<int> informed{0};
    onThreads(2, [&](int rank) {
      asFailingRank(id, 3, rank, [&](Rank& self) {
        Buffer<int> value(std::vector<int>{1});
        Buffer<int> sum(1);
        EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), sum.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
        EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
        EXPECT_EQ(3, sum.read()[0]);
        EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), sum.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
        if (rank == 0) {
          EXPECT_TRUE(child.awaitWord());
          child.kill();
        }
        while (asyncError(self) == ncclSuccess) std::this_thread::yield();
        expectAsync(self, ncclRemoteError, "rank 2 is dead (process " + std::to_string(child.pid()) + " ended)");
        // Both have seen it before one aborts.
        ++informed;
        while (informed < 2) std::this_thread::yield();
        expectRemoteTrouble(self, "rank 2 is dead");
      });
    });
    EXPECT_NE(0, child.join());
  }
  before.expectUnchanged();
}

INSTANTIATE_TEST_SUITE_P(While, NcclKilled, ::testing::Values("idle", "receive"));

TEST(NcclFailure, ThePublisherIsKilledAfterInit) {
  // The id came from a process that is gone; the ranks that met need it no more.
  const std::string path = ::testing::TempDir() + "nccl4j-publisher-" + std::to_string(getpid());
  Child publisher("publishes-and-joins", {path});
  ASSERT_TRUE(publisher.awaitWord());
  char text[2 * NCCL_UNIQUE_ID_BYTES + 1] = "";
  FILE* file = fopen(path.c_str(), "r");
  ASSERT_NE(nullptr, file);
  EXPECT_NE(nullptr, fgets(text, sizeof text, file));
  fclose(file);
  unlink(path.c_str());
  const ncclUniqueId id = fromHex(text);
  onThreads(2, [&](int rank) {
    asFailingRank(id, 3, rank, [&](Rank& self) {
      if (rank == 0) {
        publisher.kill();
        publisher.join();
      }
      Buffer<int> value(std::vector<int>{rank});
      EXPECT_NCCL(ncclSuccess, ncclGroupStart());
      EXPECT_NCCL(ncclSuccess, ncclSend(value.data(), 1, ncclInt32, 1 - rank, self.comm, self.stream));
      Buffer<int> got(1);
      EXPECT_NCCL(ncclSuccess, ncclRecv(got.data(), 1, ncclInt32, 1 - rank, self.comm, self.stream));
      EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      EXPECT_EQ(1 - rank, got.read()[0]) << "the survivors go on between themselves";
    });
  });
}

const RoleOf publishes("publishes-and-joins", [](const std::vector<std::string>& parameters) {
  const ncclUniqueId id = makeId();
  FILE* file = fopen(parameters.at(0).c_str(), "w");
  ASSERT_NE(nullptr, file);
  fputs(toHex(id).c_str(), file);
  fclose(file);
  tellParent();
  asRank(id, 3, 2, [](Rank&) {
    for (;;) pause();
  });
});

// One step of a rank that is always busy: collectives of one and of several rounds, and messages around the ring.
ncclResult_t busyStep(Rank& self, int* data, size_t count, int step) {
  if (step % 3 == 0) return ncclAllReduce(data, data, count, ncclInt32, ncclMax, self.comm, self.stream);
  if (step % 3 == 1) return ncclAllGather(data, data, count / 4, ncclInt32, self.comm, self.stream);
  ncclGroupStart();
  ncclSend(data, count / 2, ncclInt32, (self.rank + 1) % self.size, self.comm, self.stream);
  ncclRecv(data + count / 2, count / 2, ncclInt32, (self.rank + self.size - 1) % self.size, self.comm, self.stream);
  return ncclGroupEnd();
}

constexpr size_t kBusyCount = 300'000;

const RoleOf busy("busy", [](const std::vector<std::string>& parameters) {
  asRank(fromHex(parameters.at(0)), 3, std::stoi(parameters.at(1)), [](Rank& self) {
    Buffer<int> data(kBusyCount);
    tellParent();
    for (int step = 0;; ++step) {
      EXPECT_NCCL(ncclSuccess, busyStep(self, data.data(), kBusyCount, step));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    }
  });
});

TEST(NcclKilledAnywhere, TheOthersAlwaysLearnOfIt) {
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const Holdings before;
  for (int round = 0; round < 12; ++round) {
    const ncclUniqueId id = makeId();
    Child child("busy", {toHex(id), "2"});
    const auto steps = static_cast<int>(random() % 8);
    const auto microseconds = static_cast<useconds_t>(random() % 3000);
    onThreads(2, [&](int rank) {
      asFailingRank(id, 3, rank, [&](Rank& self) {
        Buffer<int> data(kBusyCount);
        ncclResult_t state = ncclSuccess;
        for (int step = 0; state == ncclSuccess; ++step) {
          if (rank == 0 && step == steps) {
            EXPECT_TRUE(child.awaitWord());
            // Somewhere within a step.
            usleep(microseconds);
            child.kill();
          }
          const ncclResult_t result = busyStep(self, data.data(), kBusyCount, step);
          EXPECT_TRUE(result == ncclSuccess || result == ncclRemoteError) << result;
          // The stream is done, or never will be because a rank is gone.
          while (cudaStreamQuery(self.stream) == cudaErrorNotReady && state == ncclSuccess) {
            state = asyncError(self);
            std::this_thread::yield();
          }
          if (state == ncclSuccess) state = asyncError(self);
        }
        EXPECT_EQ(ncclRemoteError, state);
        EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
        self.comm = nullptr;
        EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      });
    });
    EXPECT_NE(0, child.join());
  }
  before.expectUnchanged();
}

}  // namespace
}  // namespace nccl_test
