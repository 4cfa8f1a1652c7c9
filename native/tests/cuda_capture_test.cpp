// Which calls a capture records, and the graphs that come of it.
#include <algorithm>
#include <cstring>

#include "cuda_support.h"

namespace emu::test {
namespace {

class Capture : public CudaTest {
 protected:
  struct Shape {
    std::vector<cudaGraphNodeType> types;
    std::vector<std::pair<size_t, size_t>> edges;
  };

  static Shape shapeOf(cudaGraph_t graph) {
    Shape shape;
    size_t count = 0;
    EXPECT_CUDA(cudaGraphGetNodes(graph, nullptr, &count));
    std::vector<cudaGraphNode_t> nodes(count);
    EXPECT_CUDA(cudaGraphGetNodes(graph, nodes.data(), &count));
    for (const cudaGraphNode_t node : nodes) {
      cudaGraphNodeType type = cudaGraphNodeTypeCount;
      EXPECT_CUDA(cudaGraphNodeGetType(node, &type));
      shape.types.push_back(type);
    }
    size_t edges = 0;
    EXPECT_CUDA(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &edges));
    std::vector<cudaGraphNode_t> from(edges);
    std::vector<cudaGraphNode_t> to(edges);
    EXPECT_CUDA(cudaGraphGetEdges(graph, from.data(), to.data(), nullptr, &edges));
    const auto index = [&](cudaGraphNode_t node) {
      return static_cast<size_t>(std::find(nodes.begin(), nodes.end(), node) - nodes.begin());
    };
    for (size_t i = 0; i < edges; ++i) shape.edges.emplace_back(index(from[i]), index(to[i]));
    std::sort(shape.edges.begin(), shape.edges.end());
    return shape;
  }

  using Types = std::vector<cudaGraphNodeType>;
  using Edges = std::vector<std::pair<size_t, size_t>>;
};

TEST_F(Capture, RecordsInsteadOfRunning) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<int>(4);
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 16));
  int pageable = 0;
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_EQ(cudaStreamCaptureStatusActive, captureStatus(stream));
    EXPECT_CUDA(cudaMemsetAsync(device, 0xFF, 16, stream));
    EXPECT_CUDA(cudaMemcpyAsync(pinned, device, 16, cudaMemcpyDeviceToHost, stream));
    EXPECT_CUDA(cudaMemcpyAsync(&pageable, device, 4, cudaMemcpyDeviceToHost, stream));
    EXPECT_CUDA(cudaLaunchHostFunc(stream, [](void*) {}, nullptr));
    EXPECT_CUDA(cudaMemcpyAsync(pinned, device, 0, cudaMemcpyDeviceToHost, stream));
  });
  EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(stream));
  const Shape shape = shapeOf(graph);
  EXPECT_EQ((Types{cudaGraphNodeTypeMemset, cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeHost}),
            shape.types);
  EXPECT_EQ((Edges{{0, 1}, {1, 2}, {2, 3}}), shape.edges);
  EXPECT_EQ(0, pageable);
  EXPECT_CUDA(cudaGraphLaunch(instantiate(graph), stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(-1, pageable);
  EXPECT_EQ(-1, static_cast<int*>(pinned)[3]);
}

TEST_F(Capture, ForksAndJoinsByEvents) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t fork = makeStream();
  const cudaEvent_t forked = makeEvent();
  const cudaEvent_t joined = makeEvent();
  auto* device = makeDevice<char>(64);
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_CUDA(cudaMemsetAsync(device, 1, 1, stream));
    EXPECT_CUDA(cudaEventRecord(forked, stream));
    EXPECT_CUDA(cudaStreamWaitEvent(fork, forked, 0));
    EXPECT_EQ(cudaStreamCaptureStatusActive, captureStatus(fork));
    EXPECT_CUDA(cudaMemsetAsync(device + 1, 1, 1, fork));
    EXPECT_CUDA(cudaMemsetAsync(device + 2, 1, 1, stream));
    EXPECT_CUDA(cudaEventRecord(joined, fork));
    EXPECT_CUDA(cudaStreamWaitEvent(stream, joined, 0));
    EXPECT_CUDA(cudaMemsetAsync(device + 3, 1, 1, stream));
  });
  EXPECT_EQ(cudaStreamCaptureStatusNone, captureStatus(fork));
  EXPECT_EQ((Edges{{0, 1}, {0, 2}, {1, 3}, {2, 3}}), shapeOf(graph).edges);
  EXPECT_CUDA(cudaGraphLaunch(instantiate(graph), stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  unsigned char bytes[5] = {};
  EXPECT_CUDA(cudaMemcpy(bytes, device, 5, cudaMemcpyDeviceToHost));
  EXPECT_EQ(0, memcmp(bytes, "\1\1\1\1\0", 5));
  // The fork is an ordinary stream again.
  EXPECT_CUDA(cudaMemsetAsync(device, 0, 1, fork));
  EXPECT_CUDA(cudaStreamSynchronize(fork));
}

TEST_F(Capture, JoinsStreamsOfOtherDevices) {
  const cudaStream_t stream = makeStream();
  const cudaEvent_t forked = makeEvent();
  ASSERT_CUDA(cudaSetDevice(1));
  const cudaStream_t other = makeStream();
  const cudaEvent_t joined = makeEvent();
  auto* remote = makeDevice<char>(4);
  ASSERT_CUDA(cudaSetDevice(0));
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_CUDA(cudaEventRecord(forked, stream));
    EXPECT_CUDA(cudaStreamWaitEvent(other, forked, 0));
    EXPECT_CUDA(cudaSetDevice(1));
    EXPECT_CUDA(cudaMemsetAsync(remote, 5, 4, other));
    EXPECT_CUDA(cudaEventRecord(joined, other));
    EXPECT_CUDA(cudaSetDevice(0));
    EXPECT_CUDA(cudaStreamWaitEvent(stream, joined, 0));
  });
  EXPECT_CUDA(cudaGraphLaunch(instantiate(graph), stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  char value = 0;
  EXPECT_CUDA(cudaMemcpy(&value, remote, 1, cudaMemcpyDeviceToHost));
  EXPECT_EQ(5, value);
}

TEST_F(Capture, PerThreadStreamCanCapture) {
  auto* device = makeDevice<char>(4);
  const cudaGraph_t graph =
      capture(cudaStreamPerThread, [&] { EXPECT_CUDA(cudaMemsetAsync(device, 1, 4, cudaStreamPerThread)); });
  EXPECT_EQ(Types{cudaGraphNodeTypeMemset}, shapeOf(graph).types);
}

TEST_F(Capture, InfoTellsGraphAndDependencies) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(4);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
  unsigned long long id = 0;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* dependencies = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  size_t count = 9;
  const auto ask = [&] {
    return cudaStreamGetCaptureInfo(stream, &status, &id, &graph, &dependencies, &edges, &count);
  };
  ASSERT_CUDA(ask());
  EXPECT_EQ(cudaStreamCaptureStatusNone, status);
  EXPECT_EQ(9U, count);
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(ask());
  EXPECT_EQ(cudaStreamCaptureStatusActive, status);
  EXPECT_NE(0U, id);
  EXPECT_EQ(0U, count);
  ASSERT_CUDA(cudaMemsetAsync(device, 0, 4, stream));
  ASSERT_CUDA(ask());
  ASSERT_EQ(1U, count);
  ASSERT_NE(nullptr, edges);
  EXPECT_EQ(0, edges[0].type);
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamGetCaptureInfo(stream, &status, &id, &graph, nullptr, &edges, &count));
  // The graph may be extended and instantiated while it is captured, but not destroyed.
  cudaGraphNode_t extra = nullptr;
  ASSERT_CUDA(cudaGraphAddEmptyNode(&extra, graph, dependencies, count));
  EXPECT_EQ(cudaErrorIllegalState, cudaGraphDestroy(graph));
  EXPECT_CUDA(cudaGraphExecDestroy(instantiate(graph)));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamGetCaptureInfo(stream, nullptr, &id, nullptr, nullptr, nullptr, nullptr));
  cudaGraph_t captured = nullptr;
  ASSERT_CUDA(cudaStreamEndCapture(stream, &captured));
  EXPECT_EQ(graph, captured);
  EXPECT_EQ((Types{cudaGraphNodeTypeMemset, cudaGraphNodeTypeEmpty}), shapeOf(captured).types);
  const unsigned long long before = id;
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  ASSERT_CUDA(ask());
  EXPECT_NE(before, id);
  ASSERT_CUDA(cudaStreamEndCapture(stream, &captured));
}

TEST_F(Capture, ExternalEventsBecomeNodes) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t other = makeStream();
  const cudaEvent_t before = makeEvent();
  const cudaEvent_t after = makeEvent(cudaEventDefault);
  EXPECT_EQ(cudaErrorIllegalState, cudaEventRecordWithFlags(after, stream, cudaEventRecordExternal)) << "no capture";
  EXPECT_EQ(cudaErrorIllegalState, cudaStreamWaitEvent(stream, before, cudaEventWaitExternal)) << "no capture";
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_CUDA(cudaStreamWaitEvent(stream, before, cudaEventWaitExternal));
    EXPECT_CUDA(cudaEventRecordWithFlags(after, stream, cudaEventRecordExternal));
  });
  EXPECT_EQ((Types{cudaGraphNodeTypeWaitEvent, cudaGraphNodeTypeEventRecord}), shapeOf(graph).types);
  const cudaGraphExec_t exec = instantiate(graph);
  Gate gate;
  gate.put(other);
  ASSERT_CUDA(cudaEventRecord(before, other));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(stream));
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_CUDA(cudaEventQuery(after));
  float ms = -1;
  EXPECT_CUDA(cudaEventElapsedTime(&ms, after, after));
  EXPECT_EQ(0.0F, ms);
}

// Captures in many threads at once, each on its own device, as ranks do.
TEST_F(Capture, RelaxedCapturesOfManyThreadsDoNotMeet) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([t] {
      EXPECT_CUDA(cudaSetDevice(t % kDevices));
      const cudaStream_t stream = makeStream();
      for (int i = 0; i < 20; ++i) {
        char* device = nullptr;
        const cudaGraph_t graph = capture(stream, [&] {
          device = makeDevice<char>(16);
          EXPECT_CUDA(cudaMemsetAsync(device, i, 16, stream));
        });
        const cudaGraphExec_t exec = instantiate(graph);
        EXPECT_CUDA(cudaGraphLaunch(exec, stream));
        EXPECT_CUDA(cudaGraphExecDestroy(exec));
        EXPECT_CUDA(cudaGraphDestroy(graph));
        char value = -1;
        EXPECT_CUDA(cudaMemcpyAsync(&value, device, 1, cudaMemcpyDeviceToHost, stream));
        EXPECT_EQ(i, value);
        EXPECT_CUDA(cudaFree(device));
      }
      EXPECT_CUDA(cudaStreamDestroy(stream));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const nccl4jEmuUsage_t left = usage(-1);
  EXPECT_EQ(0U, left.graphs + left.graph_execs + left.streams + left.device_allocations);
}

}  // namespace
}  // namespace emu::test
