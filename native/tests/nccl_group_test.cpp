// Groups of calls, point to point, and splits.
#include <memory>

#include "nccl_harness.h"

namespace nccl_test {
namespace {

std::string lastError() { return ncclGetLastError(nullptr); }

TEST(NcclPointToPoint, RingInGroups) {
  asThreads(4, [](Rank& self) {
    const int next = (self.rank + 1) % self.size;
    const int previous = (self.rank + self.size - 1) % self.size;
    // From one element to several times the ring between two ranks.
    for (const size_t count : {size_t{1}, size_t{1000}, size_t{100'003}}) {
      Buffer<int> out(std::vector<int>(count, self.rank));
      Buffer<int> in(count);
      EXPECT_NCCL(ncclSuccess, ncclGroupStart());
      EXPECT_NCCL(ncclSuccess, ncclSend(out.data(), count, ncclInt32, next, self.comm, self.stream));
      EXPECT_NCCL(ncclSuccess, ncclRecv(in.data(), count, ncclInt32, previous, self.comm, self.stream));
      EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      EXPECT_EQ(std::vector<int>(count, previous), in.read());
    }
  });
}

TEST(NcclPointToPoint, EveryoneToEveryoneInAnyOrderTwice) {
  asThreads(5, [](Rank& self) {
    const size_t count = 40'000;
    const auto size = static_cast<size_t>(self.size);
    Buffer<int> out(2 * size * count);
    Buffer<int> in(2 * size * count);
    std::vector<int> sent(2 * size * count);
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = self.rank * 1000 + static_cast<int>(i / count);
    out.write(sent);
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    for (size_t message = 0; message < 2; ++message) {
      for (int step = 0; step < self.size; ++step) {
        const int peer = (self.rank + step) % self.size;
        const size_t block = (message * size + static_cast<size_t>(peer)) * count;
        EXPECT_NCCL(ncclSuccess, ncclRecv(in.data() + block, count, ncclInt32, peer, self.comm, self.stream));
        EXPECT_NCCL(ncclSuccess, ncclSend(out.data() + block, count, ncclInt32, peer, self.comm, self.stream));
      }
    }
    EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    const std::vector<int> got = in.read();
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t block = i / count;
      const auto peer = static_cast<int>(block % size);
      ASSERT_EQ(peer * 1000 + static_cast<int>(block - block % size) + self.rank, got[i]) << i;
    }
  });
}

TEST(NcclPointToPoint, WithoutGroup) {
  asThreads(2, [](Rank& self) {
    Buffer<double> value(std::vector<double>(30'000, 2.5 + self.rank));
    if (self.rank == 0) {
      EXPECT_NCCL(ncclSuccess, ncclSend(value.data(), 30'000, ncclFloat64, 1, self.comm, self.stream));
    } else {
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 30'000, ncclFloat64, 0, self.comm, self.stream));
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(std::vector<double>(30'000, 2.5), value.read());
  });
}

TEST(NcclPointToPoint, EmptyMessagesHaveTwoEnds) {
  asThreads(2, [](Rank& self) {
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclSuccess, ncclSend(nullptr, 0, ncclFloat32, 1 - self.rank, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclRecv(nullptr, 0, ncclFloat32, 1 - self.rank, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
  });
}

TEST(NcclPointToPoint, ToOneself) {
  asThreads(1, [](Rank& self) {
    Buffer<int> out(std::vector<int>(200'000, 9));
    Buffer<int> in(200'000);
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclSuccess, ncclSend(out.data(), 200'000, ncclInt32, 0, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclRecv(in.data(), 200'000, ncclInt32, 0, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(out.read(), in.read());
    EXPECT_NCCL(ncclInvalidUsage, ncclSend(out.data(), 1, ncclInt32, 0, self.comm, self.stream));
  });
}

TEST(NcclPointToPoint, CapturedAndReplayed) {
  asThreads(2, [](Rank& self) {
    Buffer<int> out(std::vector<int>{0});
    Buffer<int> in(1);
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(self.stream, cudaStreamCaptureModeRelaxed));
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclSuccess, ncclSend(out.data(), 1, ncclInt32, 1 - self.rank, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclRecv(in.data(), 1, ncclInt32, 1 - self.rank, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(self.stream, &graph));
    ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
    for (int step = 1; step <= 3; ++step) {
      out.write({self.rank + 10 * step});
      EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      EXPECT_EQ(1 - self.rank + 10 * step, in.read()[0]);
    }
    EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec));
    EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
  });
}

// ---- groups ----

TEST(NcclGroup, OneThreadDrivesAllRanks) {
  constexpr int kRanks = 4;
  const ncclUniqueId id = makeId();
  ncclComm_t comms[kRanks] = {};
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  for (int rank = 0; rank < kRanks; ++rank) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    EXPECT_NCCL(ncclSuccess, ncclCommInitRank(&comms[rank], kRanks, id, rank));
  }
  EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
  int count = 0;
  EXPECT_NCCL(ncclInvalidArgument, ncclCommCount(comms[0], &count)) << "the outer group is still open";
  EXPECT_NCCL(ncclSuccess, ncclGroupEnd());

  cudaStream_t streams[kRanks];
  std::vector<std::unique_ptr<Buffer<float>>> values;
  for (int rank = 0; rank < kRanks; ++rank) {
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&streams[rank]));
    values.push_back(std::make_unique<Buffer<float>>(std::vector<float>(3, static_cast<float>(rank + 1))));
  }
  // The current device need not be that of the communicator.
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  for (int rank = 0; rank < kRanks; ++rank) {
    float* value = values[static_cast<size_t>(rank)]->data();
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value, value, 3, ncclFloat32, ncclSum, comms[rank], streams[rank]));
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value, value, 3, ncclFloat32, ncclProd, comms[rank], streams[rank]));
  }
  EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
  int current = -1;
  EXPECT_CUDA(cudaSuccess, cudaGetDevice(&current));
  EXPECT_EQ(0, current);
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(streams[rank]));
    EXPECT_EQ(std::vector<float>(3, 10000.0f), values[static_cast<size_t>(rank)]->read());
  }
  values.clear();
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(streams[rank]));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(comms[rank]));
  }
}

TEST(NcclGroup, AnErrorInsideIsTheErrorOfTheGroup) {
  asThreads(2, [](Rank& self) {
    Buffer<int> value(std::vector<int>{self.rank});
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclSend(value.data(), 1, ncclInt32, 7, self.comm, self.stream));
    EXPECT_NCCL(ncclInvalidArgument, ncclGroupEnd());
    EXPECT_NE(std::string::npos, lastError().find("rank 7 does not exist")) << lastError();
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(self.rank, value.read()[0]) << "nothing of the group was done";
    // The next group is unaffected.
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(1, value.read()[0]);
  });
}

TEST(NcclGroup, AFailedInitInsideReleasesTheOthers) {
  const uint64_t before = usage().communicators;
  ncclComm_t comms[2] = {};
  const ncclUniqueId id = makeId();
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  EXPECT_NCCL(ncclSuccess, ncclCommInitRank(&comms[0], 2, id, 0));
  EXPECT_NCCL(ncclInvalidArgument, ncclCommInitRank(&comms[1], 2, id, 2));
  EXPECT_NCCL(ncclInvalidArgument, ncclGroupEnd());
  EXPECT_EQ(nullptr, comms[0]);
  EXPECT_EQ(before, usage().communicators);
}

TEST(NcclGroup, BlockingAndOthersDoNotMix) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comms[2] = {};
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  EXPECT_NCCL(ncclSuccess, ncclCommInitRank(&comms[0], 1, makeId(), 0));
  EXPECT_NCCL(ncclInProgress, ncclCommInitRankConfig(&comms[1], 1, makeId(), 0, &config));
  EXPECT_NCCL(ncclInvalidArgument, ncclGroupEnd());
  EXPECT_EQ(nullptr, comms[0]);
  EXPECT_EQ(nullptr, comms[1]);
}

TEST(NcclGroup, EndWithoutStart) {
  EXPECT_NCCL(ncclInvalidUsage, ncclGroupEnd());
  ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  EXPECT_NCCL(ncclInvalidUsage, ncclGroupSimulateEnd(&info));
}

TEST(NcclGroup, EmptyAndSimulated) {
  EXPECT_NCCL(ncclSuccess, ncclGroupStart());
  EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
  asThreads(2, [](Rank& self) {
    Buffer<int> value(std::vector<int>{self.rank});
    ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    EXPECT_NCCL(ncclSuccess, ncclGroupSimulateEnd(&info));
    EXPECT_EQ(NCCL_UNDEF_FLOAT, info.estimatedTime);
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(self.rank, value.read()[0]) << "nothing was done";
    info.magic = 0;
    EXPECT_NCCL(ncclSuccess, ncclGroupStart());
    EXPECT_NCCL(ncclInvalidArgument, ncclGroupSimulateEnd(&info));
  });
}

TEST(NcclGroup, SeveralStreamsOfOneCommunicatorWaitForEachOther) {
  asThreads(2, [](Rank& self) {
    cudaStream_t second;
    ASSERT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    const size_t count = 1 << 18;
    Buffer<int> out(count);
    Buffer<int> in(count);
    Buffer<int> copy(count);
    for (int step = 1; step <= 10; ++step) {
      // The value is written on the second stream, sent on the first, and read on the second again.
      EXPECT_CUDA(cudaSuccess, cudaMemsetAsync(out.data(), step + 16 * self.rank, count * sizeof(int), second));
      EXPECT_NCCL(ncclSuccess, ncclGroupStart());
      EXPECT_NCCL(ncclSuccess, ncclRecv(in.data(), count, ncclInt32, 1 - self.rank, self.comm, self.stream));
      EXPECT_NCCL(ncclSuccess, ncclSend(out.data(), count, ncclInt32, 1 - self.rank, self.comm, second));
      EXPECT_NCCL(ncclSuccess, ncclGroupEnd());
      EXPECT_CUDA(cudaSuccess,
                  cudaMemcpyAsync(copy.data(), in.data(), count * sizeof(int), cudaMemcpyDeviceToDevice, second));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(second));
      const int byte = step + 16 * (1 - self.rank);
      EXPECT_EQ(std::vector<int>(count, byte * 0x01010101), copy.read());
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(second));
  });
}

// ---- split ----

void expectMembers(ncclComm_t comm, cudaStream_t stream, int parentRank, const std::vector<int>& expected) {
  int count = -1;
  int rank = -1;
  EXPECT_NCCL(ncclSuccess, ncclCommCount(comm, &count));
  EXPECT_NCCL(ncclSuccess, ncclCommUserRank(comm, &rank));
  ASSERT_EQ(static_cast<int>(expected.size()), count);
  EXPECT_EQ(parentRank, expected.at(static_cast<size_t>(rank)));
  Buffer<int> mine(std::vector<int>{parentRank});
  Buffer<int> all(expected.size());
  EXPECT_NCCL(ncclSuccess, ncclAllGather(mine.data(), all.data(), 1, ncclInt32, comm, stream));
  EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(stream));
  EXPECT_EQ(expected, all.read());
}

TEST(NcclSplit, ColorsAndKeys) {
  const uint64_t before = usage().communicators;
  asThreads(6, [](Rank& self) {
    ncclComm_t child = nullptr;
    // Even and odd ranks, in falling order; rank 4 stays out.
    const int color = self.rank == 4 ? NCCL_SPLIT_NOCOLOR : self.rank % 2;
    ASSERT_NCCL(ncclSuccess, ncclCommSplit(self.comm, color, -self.rank, &child, nullptr));
    if (self.rank == 4) {
      EXPECT_EQ(nullptr, child);
    } else {
      expectMembers(child, self.stream, self.rank, self.rank % 2 == 0 ? std::vector<int>{2, 0} : std::vector<int>{5, 3, 1});
    }
    // The parent still works, and equal keys keep the parent's order.
    ncclComm_t all = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclCommSplit(self.comm, 3, 0, &all, nullptr));
    expectMembers(all, self.stream, self.rank, {0, 1, 2, 3, 4, 5});
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(all));
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(child)) << "NULL is nothing to destroy";
    EXPECT_NCCL(ncclInvalidArgument, ncclCommSplit(self.comm, -5, 0, &child, nullptr));
    EXPECT_NCCL(ncclInvalidArgument, ncclCommSplit(self.comm, 0, 0, nullptr, nullptr));
  });
  EXPECT_EQ(before, usage().communicators);
}

const RoleOf splitRole("split", [](const std::vector<std::string>& parameters) {
  const int rank = std::stoi(parameters.at(1));
  asRank(fromHex(parameters.at(0)), 4, rank, [](Rank& self) {
    ncclComm_t child = nullptr;
    ASSERT_NCCL(ncclSuccess, ncclCommSplit(self.comm, self.rank / 2, 0, &child, nullptr));
    expectMembers(child, self.stream, self.rank, self.rank < 2 ? std::vector<int>{0, 1} : std::vector<int>{2, 3});
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(child));
  });
});

TEST(NcclSplit, Processes) {
  const ncclUniqueId id = makeId();
  std::vector<Child> children;
  for (int rank = 0; rank < 4; ++rank) {
    children.emplace_back("split", std::vector<std::string>{toHex(id), std::to_string(rank)});
  }
  for (Child& child : children) EXPECT_EQ(0, child.join());
}

TEST(NcclSplit, WithoutBlocking) {
  asThreads(2, [](Rank& self) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t child = nullptr;
    // The parent blocks, so the child is ready; its own operations don't block.
    ASSERT_NCCL(ncclSuccess, ncclCommSplit(self.comm, 0, 0, &child, &config));
    Buffer<int> value(std::vector<int>{self.rank});
    EXPECT_NCCL(ncclInProgress, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, child, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(1, value.read()[0]);
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(child));
  });
}

}  // namespace
}  // namespace nccl_test
