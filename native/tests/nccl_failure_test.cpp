// What happens when ranks disagree, give up, or touch what they must not.
#include <atomic>
#include <thread>

#include "nccl_failure_support.h"

namespace nccl_test {
namespace {

class NcclMismatch : public ::testing::Test {
 protected:
  // Rank 0 calls first, the others second: everyone learns of it.
  using Call = std::function<ncclResult_t(Rank&, float*)>;
  void disagree(const Call& first, const Call& second) {
    asFailingThreads(3, [&](Rank& self) {
      Buffer<float> value(256);
      // A call that comes after the others have found out is refused.
      const ncclResult_t called = (self.rank == 0 ? first : second)(self, value.data());
      if (called == ncclSuccess) {
        EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(self.stream));
        EXPECT_NE(std::string::npos, deviceText(self.rank).find("the ranks called different operations"));
      } else {
        EXPECT_NCCL(ncclInvalidUsage, called);
      }
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

}  // namespace
}  // namespace nccl_test
