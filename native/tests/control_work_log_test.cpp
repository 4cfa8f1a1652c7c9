#include <string>

#include "cuda/work.h"
#include "cuda_support.h"

namespace emu::test {
namespace {

class WorkLog : public CudaTest {
 protected:
  void TearDown() override {
    nccl4jEmuTimeline(0);
    CudaTest::TearDown();
  }
};

TEST_F(WorkLog, TellsWhatRanWhenAndWhere) {
  ASSERT_CUDA(cudaSetDevice(2));
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(16);
  ASSERT_EQ(NCCL4J_EMU_OK, nccl4jEmuTimeline(16));
  const uint64_t before = now();
  const cudaGraphExec_t exec = instantiate(capture(stream, [&] {
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 16, stream));
    Work work;
    work.name = "operation";
    work.rank = 3;
    work.run = [](WorkContext& context) { context.fail(cudaErrorLaunchFailure, "on purpose, %d", 7); };
    EXPECT_CUDA(submit(stream, std::move(work)));
  }));
  ASSERT_CUDA(cudaMemsetAsync(device, 0, 16, stream));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  EXPECT_EQ(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
  EXPECT_EQ("operation, rank 3, replayed from a graph: on purpose, 7", errorText(2));
  nccl4jEmuWork_t work[4];
  ASSERT_EQ(3U, nccl4jEmuWork(0, work, 4));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(stream), work[i].stream);
    EXPECT_EQ(2, work[i].device);
    EXPECT_EQ(i == 0 ? 0 : 1, work[i].from_graph);
    EXPECT_LE(i == 0 ? before : work[i - 1].end_ns, work[i].start_ns);
    EXPECT_LE(work[i].start_ns, work[i].end_ns);
  }
  EXPECT_STREQ("cudaMemsetAsync", work[1].operation);
  EXPECT_EQ(-1, work[1].rank);
  EXPECT_EQ(cudaSuccess, work[1].error);
  EXPECT_STREQ("operation", work[2].operation);
  EXPECT_EQ(3, work[2].rank);
  EXPECT_EQ(cudaErrorLaunchFailure, work[2].error);
  nccl4jEmuTimeline(0);
  EXPECT_EQ(0U, nccl4jEmuWork(0, work, 4));
}

TEST_F(WorkLog, WorkThatThrowsIsAnError) {
  const cudaStream_t stream = makeStream();
  Work work;
  work.name = "throws";
  work.run = [](WorkContext&) { throw std::runtime_error("reason"); };
  ASSERT_CUDA(submit(stream, std::move(work)));
  EXPECT_EQ(cudaErrorUnknown, cudaStreamSynchronize(stream));
  EXPECT_EQ("throws: reason", errorText(0));
}

}  // namespace
}  // namespace emu::test
