// The sequence of all collective operations of a communicator must be the same on all ranks.
#include "nccl/communicator.h"
#include "nccl_failure_support.h"

namespace nccl_test {
namespace {

ncclResult_t gather(Rank& self, float* values, cudaStream_t stream) {
  return ncclAllGather(values, values, 4, ncclFloat32, self.comm, stream);
}

ncclResult_t reduce(Rank& self, float* values, cudaStream_t stream) {
  return ncclAllReduce(values, values, 4, ncclFloat32, ncclSum, self.comm, stream);
}

void expectNamed(const std::string& text) {
  EXPECT_NE(std::string::npos, text.find("ncclAllReduce(4 float32, sum) on rank")) << text;
  EXPECT_NE(std::string::npos, text.find("ncclAllGather(16 bytes) on rank")) << text;
}

// On streams of their own nothing would wait for the other order.
TEST(NcclCallSequence, CrossedOnTwoStreamsIsFound) {
  asFailingThreads(2, [](Rank& self) {
    Buffer<float> values(256);
    cudaStream_t other = nullptr;
    EXPECT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    // The second call may be refused already.
    if (self.rank == 0) {
      EXPECT_NCCL(ncclSuccess, gather(self, values.data(), self.stream));
      reduce(self, values.data(), other);
    } else {
      EXPECT_NCCL(ncclSuccess, reduce(self, values.data(), other));
      gather(self, values.data(), self.stream);
    }
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaDeviceSynchronize());
    expectNamed(deviceText(self.rank));
    expectAsync(self, ncclInvalidUsage, "the ranks called different operations");
  });
}

TEST(NcclCallSequence, LaunchesOfGraphsCount) {
  asFailingThreads(2, [](Rank& self) {
    Buffer<float> values(256);
    cudaGraphExec_t execs[2] = {nullptr, nullptr};
    for (int i = 0; i < 2; ++i) {
      cudaGraph_t graph = nullptr;
      EXPECT_CUDA(cudaSuccess, cudaStreamBeginCapture(self.stream, cudaStreamCaptureModeRelaxed));
      EXPECT_NCCL(ncclSuccess, (i == 0 ? gather : reduce)(self, values.data(), self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamEndCapture(self.stream, &graph));
      EXPECT_CUDA(cudaSuccess, cudaGraphInstantiate(&execs[i], graph, 0));
      EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
    }
    // What a capture records is no call yet: the ranks launch in the same order at first.
    for (const int i : {1, 0}) EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(execs[i], self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(execs[self.rank], self.stream));
    cudaGraphLaunch(execs[1 - self.rank], self.stream);
    EXPECT_CUDA(cudaErrorLaunchFailure, cudaStreamSynchronize(self.stream));
    expectNamed(deviceText(self.rank));
    for (cudaGraphExec_t exec : execs) cudaGraphExecDestroy(exec);
  });
}

// NCCL EP makes collectives of its own.
TEST(NcclCallSequence, OtherRoomsNoteTheirOperations) {
  Gate first;
  Gate second;
  asFailingThreads(2, [&](Rank& self) {
    Buffer<float> values(256);
    EXPECT_EQ("", emu::noteCollective(self.comm, "ncclEpUpdateHandle of group 1"));
    EXPECT_NCCL(ncclSuccess, reduce(self, values.data(), self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    if (self.rank == 0) {
      EXPECT_EQ("", emu::noteCollective(self.comm, "ncclEpUpdateHandle of group 1"));
      first.open();
      second.pass();
    } else {
      first.pass();
      EXPECT_EQ("the ranks called different operations: call 3 is ncclEpUpdateHandle of group 2 on rank 1 and "
                "ncclEpUpdateHandle of group 1 on rank 0",
                emu::noteCollective(self.comm, "ncclEpUpdateHandle of group 2"));
      second.open();
    }
    expectAsync(self, ncclInvalidUsage, "ncclEpUpdateHandle of group 2 on rank 1");
  });
}

// A rank that is far ahead is not compared with what it has forgotten.
TEST(NcclCallSequence, ARankMayBeFarAhead) {
  Gate called;
  asThreads(2, [&](Rank& self) {
    Buffer<float> values(256);
    if (self.rank == 0) called.pass();
    for (int i = 0; i < 700; ++i) {
      EXPECT_NCCL(ncclSuccess, (i % 3 == 0 ? reduce : gather)(self, values.data(), self.stream));
    }
    if (self.rank == 1) called.open();
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
  });
}

TEST(NcclCallSequence, UnknownCommunicatorsHaveNone) { EXPECT_EQ("", emu::noteCollective(nullptr, "anything")); }

}  // namespace
}  // namespace nccl_test
