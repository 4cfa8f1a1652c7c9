// What happens when ranks disagree, give up, die, or touch what they must not.
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "nccl_harness.h"

namespace nccl_test {
namespace {

// A rank whose communicator and device are expected to fail: leaves both clean.
void asFailingRank(const ncclUniqueId& id, int size, int rank, const std::function<void(Rank&)>& body) {
  Rank self;
  self.rank = rank;
  self.size = size;
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
  ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, size, id, rank));
  ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
  body(self);
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
  EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
}

void asFailingThreads(int size, const std::function<void(Rank&)>& body) {
  const Holdings before;
  const ncclUniqueId id = makeId();
  onThreads(size, [&](int rank) { asFailingRank(id, size, rank, body); });
  before.expectUnchanged();
}

// Opened once by one thread, passed by others.
class Gate {
 public:
  void open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

ncclResult_t asyncError(const Rank& self) {
  ncclResult_t state = ncclInternalError;
  EXPECT_NCCL(ncclSuccess, ncclCommGetAsyncError(self.comm, &state));
  return state;
}

void expectAsync(const Rank& self, ncclResult_t expected, const std::string& part) {
  EXPECT_EQ(expected, asyncError(self)) << "rank " << self.rank;
  const std::string text = ncclGetLastError(self.comm);
  EXPECT_NE(std::string::npos, text.find(part)) << "rank " << self.rank << ": " << text;
}

// The trouble of another rank: told as async error at once, while the work waits for the abort, which leaves the device healthy.
void expectRemoteTrouble(Rank& self, const std::string& part) {
  while (asyncError(self) == ncclSuccess) std::this_thread::yield();
  expectAsync(self, ncclRemoteError, part);
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
  self.comm = nullptr;
  EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
}

std::string deviceText(int device) {
  char text[1024] = "";
  EXPECT_EQ(0, nccl4jEmuErrorText(device, text, sizeof text));
  return text;
}

class NcclMismatch : public ::testing::Test {
 protected:
  // Rank 0 calls first, the others second: everyone learns of it.
  void disagree(const std::function<ncclResult_t(Rank&, float*)>& first, const std::function<ncclResult_t(Rank&, float*)>& second) {
    asFailingThreads(3, [&](Rank& self) {
      Buffer<float> value(256);
      EXPECT_NCCL(ncclSuccess, (self.rank == 0 ? first : second)(self, value.data()));
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(self.stream));
      EXPECT_NE(std::string::npos, deviceText(self.rank).find("the ranks called different operations")) << deviceText(self.rank);
      expectAsync(self, ncclInvalidUsage, "the ranks called different operations");
      // From now on every call answers the error.
      EXPECT_NCCL(ncclInvalidUsage, ncclBcast(value.data(), 1, ncclFloat32, 0, self.comm, self.stream));
      EXPECT_NCCL(ncclInvalidUsage, ncclCommDestroy(self.comm)) << "a failed communicator must be aborted";
    });
  }
};

TEST_F(NcclMismatch, Operation) {
  disagree([](Rank& s, float* v) { return ncclAllReduce(v, v, 4, ncclFloat32, ncclSum, s.comm, s.stream); },
           [](Rank& s, float* v) { return ncclBcast(v, 4, ncclFloat32, 0, s.comm, s.stream); });
}

TEST_F(NcclMismatch, Count) {
  disagree([](Rank& s, float* v) { return ncclAllGather(v, v, 4, ncclFloat32, s.comm, s.stream); },
           [](Rank& s, float* v) { return ncclAllGather(v, v, 5, ncclFloat32, s.comm, s.stream); });
}

TEST_F(NcclMismatch, Reduction) {
  disagree([](Rank& s, float* v) { return ncclAllReduce(v, v, 4, ncclFloat32, ncclSum, s.comm, s.stream); },
           [](Rank& s, float* v) { return ncclAllReduce(v, v, 4, ncclFloat32, ncclMax, s.comm, s.stream); });
}

TEST_F(NcclMismatch, DataTypeOfAReduction) {
  disagree([](Rank& s, float* v) { return ncclAllReduce(v, v, 4, ncclFloat32, ncclSum, s.comm, s.stream); },
           [](Rank& s, float* v) { return ncclAllReduce(v, v, 4, ncclInt32, ncclSum, s.comm, s.stream); });
}

TEST_F(NcclMismatch, Root) {
  disagree([](Rank& s, float* v) { return ncclBcast(v, 4, ncclFloat32, 0, s.comm, s.stream); },
           [](Rank& s, float* v) { return ncclBcast(v, 4, ncclFloat32, 1, s.comm, s.stream); });
}

TEST(NcclMismatchOfMessages, Size) {
  Gate called;
  asFailingThreads(2, [&](Rank& self) {
    Buffer<int> value(8);
    if (self.rank == 0) {
      EXPECT_NCCL(ncclSuccess, ncclSend(value.data(), 4, ncclInt32, 1, self.comm, self.stream));
      // The send may be over before the receiver looks; then a later operation learns of it.
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 1, self.comm, self.stream));
      called.open();
      expectRemoteTrouble(self, "rank 1 failed: ncclRecv: ncclRecv of 20 bytes meets ncclSend of 16 bytes from rank 0");
    } else {
      called.pass();
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 5, ncclInt32, 0, self.comm, self.stream));
      EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(self.stream));
      expectAsync(self, ncclInvalidUsage, "ncclRecv of 20 bytes meets ncclSend of 16 bytes from rank 0");
    }
  });
}

TEST(NcclFailure, TheLimitNamesWhoIsMissing) {
  // Rank 2 never calls; the limit is for the two that wait.
  Gate first;
  Gate second;
  Option limit("wait_limit_ms", "100");
  asFailingThreads(3, [&](Rank& self) {
    if (self.rank == 2) {
      first.pass();
      second.pass();
      expectAsync(self, ncclRemoteError, "for rank 2");
      return;
    }
    Buffer<int> value(1);
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    const cudaError_t error = cudaStreamSynchronize(self.stream);
    // Whoever reaches the limit first tells the other.
    EXPECT_TRUE(error == cudaErrorLaunchTimeout || error == cudaErrorLaunchFailure) << error;
    expectAsync(self, error == cudaErrorLaunchTimeout ? ncclTimeout : ncclRemoteError, "for rank 2");
    (self.rank == 0 ? first : second).open();
  });
}

TEST(NcclFailure, AbortEndsTheWaitOfItsOwnRankOnly) {
  const ncclUniqueId id = makeId();
  Gate aborted;
  onThreads(2, [&](int rank) {
    Rank self{rank, 2, nullptr, nullptr};
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, 2, id, rank));
    if (rank == 1) {
      // Takes no part until rank 0 has given up.
      aborted.pass();
      EXPECT_EQ(ncclSuccess, asyncError(self)) << "the abort of another rank is noticed by waiting for it";
      ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
      Buffer<int> value(1);
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
      expectRemoteTrouble(self, "rank 0 aborted its communicator");
      EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(self.stream));
      return;
    }
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
    Buffer<int> value(1);
    for (int i = 0; i < 3; ++i) {
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 1, self.comm, self.stream));
    }
    EXPECT_CUDA(cudaErrorNotReady, cudaStreamQuery(self.stream));
    EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
    aborted.open();
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream)) << "the work just ends";
    EXPECT_NCCL(ncclInvalidArgument, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(self.stream));
  });
}

TEST(NcclFailure, AbortFromAnotherThread) {
  const ncclUniqueId id = makeId();
  onThreads(2, [&](int rank) {
    Rank self{rank, 2, nullptr, nullptr};
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, 2, id, rank));
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
    Buffer<int> value(1);
    if (rank == 0) {
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 1, self.comm, self.stream));
      std::thread watchdog([&] { EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm)); });
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      watchdog.join();
    } else {
      EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(self.stream));
  });
}

TEST(NcclFailure, ARankThatLeftIsNotWaitedFor) {
  asFailingThreads(2, [](Rank& self) {
    if (self.rank == 1) {
      EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
      self.comm = nullptr;
      return;
    }
    Buffer<int> value(1);
    EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    expectRemoteTrouble(self, "rank 1 destroyed its communicator");
  });
}

TEST(NcclFailure, RemoteTroubleWithoutAnAbortEndsInADeviceError) {
  asFailingThreads(2, [](Rank& self) {
    if (self.rank == 1) {
      EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
      self.comm = nullptr;
      return;
    }
    // Here at the limit, before the time that is allowed for an abort is over.
    Option limit("wait_limit_ms", "100");
    Buffer<int> value(1);
    EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(self.stream));
    EXPECT_NE(std::string::npos, deviceText(0).find("rank 1 destroyed its communicator")) << deviceText(0);
    expectAsync(self, ncclRemoteError, "rank 1 destroyed its communicator");
  });
}

TEST(NcclFailure, WhatWasSentBeforeLeavingArrives) {
  Gate left;
  const ncclUniqueId id = makeId();
  onThreads(2, [&](int rank) {
    Rank self{rank, 2, nullptr, nullptr};
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, 2, id, rank));
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
    Buffer<int> value(std::vector<int>{rank == 0 ? 77 : 0});
    if (rank == 0) {
      EXPECT_NCCL(ncclSuccess, ncclSend(value.data(), 1, ncclInt32, 1, self.comm, self.stream));
      EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
      left.open();
    } else {
      left.pass();
      EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      EXPECT_EQ(77, value.read()[0]);
      EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(self.stream));
  });
}

TEST(NcclFailure, IllegalAddress) {
  Gate called;
  asFailingThreads(2, [&](Rank& self) {
    Buffer<int> value(1);
    if (self.rank == 0) {
      int* freed = nullptr;
      ASSERT_CUDA(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&freed), 64));
      ASSERT_CUDA(cudaSuccess, cudaFree(freed));
      called.pass();
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(freed, value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
      EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(self.stream));
      EXPECT_NE(std::string::npos, deviceText(0).find("ncclAllReduce on rank 0: sendbuff")) << deviceText(0);
      expectAsync(self, ncclUnhandledCudaError, "sendbuff");
    } else {
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
      called.open();
      expectRemoteTrouble(self, "rank 0 failed: ncclAllReduce");
    }
  });
}

TEST(NcclFailure, ABufferThatIsTooSmall) {
  Gate called;
  asFailingThreads(2, [&](Rank& self) {
    // The gathered data does not fit on rank 1.
    Buffer<int> mine(64);
    Buffer<int> all(self.rank == 0 ? 128 : 127);
    if (self.rank == 1) called.pass();
    EXPECT_NCCL(ncclSuccess, ncclAllGather(mine.data(), all.data(), 64, ncclInt32, self.comm, self.stream));
    if (self.rank == 0) {
      called.open();
      expectRemoteTrouble(self, "recvbuff");
    } else {
      EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(self.stream));
      expectAsync(self, ncclUnhandledCudaError, "recvbuff");
    }
  });
}

TEST(NcclFailure, WorkThatIsDroppedBecauseItsDeviceFailed) {
  Gate called;
  asFailingThreads(2, [&](Rank& self) {
    Buffer<int> value(1);
    if (self.rank == 0) {
      // The stream waits behind a host function while the device fails on another stream.
      static std::atomic<bool> go;
      go = false;
      cudaStream_t other;
      ASSERT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
      EXPECT_CUDA(cudaSuccess, cudaLaunchHostFunc(self.stream,
                                                  [](void*) {
                                                    while (!go) std::this_thread::yield();
                                                  },
                                                  nullptr));
      EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
      int* freed = nullptr;
      ASSERT_CUDA(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&freed), 64));
      EXPECT_CUDA(cudaSuccess, cudaMemsetAsync(freed + (1 << 20), 0, 64, other));
      EXPECT_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(other));
      called.pass();
      go = true;
      while (asyncError(self) == ncclSuccess) std::this_thread::yield();
      expectAsync(self, ncclUnhandledCudaError, "was dropped");
    } else {
      EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
      called.open();
      expectRemoteTrouble(self, "was dropped");
    }
  });
}

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

TEST(NcclFailure, BrokenWaitsOfDeviceWork) {
  Gate seen;
  asFailingThreads(2, [&](Rank& self) {
    if (self.rank == 1) {
      seen.pass();
      return;
    }
    Buffer<int> value(1);
    EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    EXPECT_EQ(0, nccl4jEmuBreakWaits("enough"));
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(0, nccl4jEmuBreakWaits(nullptr));
    expectAsync(self, ncclSystemError, "enough");
    seen.open();
  });
}

TEST(NcclFailure, DestroyWaitsForGraphs) {
  asThreads(1, [](Rank& self) {
    Buffer<int> value(1);
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(self.stream, cudaStreamCaptureModeRelaxed));
    EXPECT_NCCL(ncclSuccess, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(self.stream, &graph));
    ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
    EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
    {
      Option limit("wait_limit_ms", "60");
      EXPECT_NCCL(ncclInvalidUsage, ncclCommDestroy(self.comm));
    }
    // The communicator is still there, and goes with the last graph.
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    std::thread end([&] { EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec)); });
    EXPECT_NCCL(ncclSuccess, ncclCommDestroy(self.comm));
    end.join();
    self.comm = nullptr;
  });
}

TEST(NcclFailure, AGraphThatOutlivesItsAbortedCommunicator) {
  ASSERT_CUDA(cudaSuccess, cudaSetDevice(0));
  ncclComm_t comm = nullptr;
  cudaStream_t stream;
  ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&comm, 1, makeId(), 0));
  ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&stream));
  int* value = nullptr;
  ASSERT_CUDA(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&value), sizeof *value));
  ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  EXPECT_NCCL(ncclSuccess, ncclBcast(value, 1, ncclInt32, 0, comm, stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(stream, &graph));
  ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
  EXPECT_NCCL(ncclSuccess, ncclCommAbort(comm));
  EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, stream));
  EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
  EXPECT_NE(std::string::npos, deviceText(0).find("the communicator was destroyed")) << deviceText(0);
  EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec));
  EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
  EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
}

TEST(NcclFailure, AbortEndsADestroyThatWaits) {
  const ncclUniqueId id = makeId();
  Gate over;
  onThreads(2, [&](int rank) {
    Rank self{rank, 2, nullptr, nullptr};
    ASSERT_CUDA(cudaSuccess, cudaSetDevice(rank));
    ASSERT_NCCL(ncclSuccess, ncclCommInitRank(&self.comm, 2, id, rank));
    if (rank == 1) {
      over.pass();
      EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm));
      return;
    }
    ASSERT_CUDA(cudaSuccess, cudaStreamCreate(&self.stream));
    Buffer<int> value(1);
    EXPECT_NCCL(ncclSuccess, ncclRecv(value.data(), 1, ncclInt32, 1, self.comm, self.stream));
    std::thread watchdog([&] { EXPECT_NCCL(ncclSuccess, ncclCommAbort(self.comm)); });
    // Either waits for the message until the abort, or comes after it.
    EXPECT_NCCL(ncclInvalidArgument, ncclCommDestroy(self.comm));
    watchdog.join();
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(self.stream));
    over.open();
  });
}

TEST(NcclFailure, InjectedLaunchFault) {
  asFailingThreads(1, [](Rank& self) {
    Buffer<int> value(1);
    ASSERT_EQ(0, nccl4jEmuInjectFault(NCCL4J_EMU_FAULT_LAUNCH, 0, 1, 0));
    EXPECT_NCCL(ncclUnhandledCudaError, ncclBcast(value.data(), 1, ncclInt32, 0, self.comm, self.stream));
    EXPECT_STREQ("ncclBcast on rank 0: the launch failed with cudaErrorLaunchFailure", ncclGetLastError(nullptr));
    EXPECT_EQ(0, nccl4jEmuClearFaults());
  });
}

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
