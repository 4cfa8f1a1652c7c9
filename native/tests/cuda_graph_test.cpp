// Graphs built by hand, and executable graphs.
#include <cstdio>
#include <fstream>
#include <sstream>

#include "cuda/graph_exec.h"
#include "cuda_support.h"

namespace emu::test {
namespace {

class Graphs : public CudaTest {
 protected:
  static cudaGraph_t makeGraph() {
    cudaGraph_t graph = nullptr;
    EXPECT_CUDA(cudaGraphCreate(&graph, 0));
    return graph;
  }

  static cudaGraphNode_t addEmpty(cudaGraph_t graph, const std::vector<cudaGraphNode_t>& after = {}) {
    cudaGraphNode_t node = nullptr;
    EXPECT_CUDA(cudaGraphAddEmptyNode(&node, graph, after.data(), after.size()));
    return node;
  }

  static void count(void* counter) { static_cast<std::atomic<int>*>(counter)->fetch_add(1); }
};

TEST_F(Graphs, AreBuiltAndAsked) {
  const cudaGraph_t graph = makeGraph();
  const cudaGraphNode_t a = addEmpty(graph);
  const cudaGraphNode_t b = addEmpty(graph, {a});
  const cudaGraphNode_t c = addEmpty(graph);
  ASSERT_CUDA(cudaGraphAddDependencies(graph, &b, &c, nullptr, 1));
  size_t number = 0;
  ASSERT_CUDA(cudaGraphGetNodes(graph, nullptr, &number));
  EXPECT_EQ(3U, number);
  cudaGraphNode_t nodes[4] = {a, a, a, a};
  number = 4;
  ASSERT_CUDA(cudaGraphGetNodes(graph, nodes, &number));
  EXPECT_EQ(3U, number);
  EXPECT_EQ(a, nodes[0]);
  EXPECT_EQ(c, nodes[2]);
  EXPECT_EQ(nullptr, nodes[3]);
  cudaGraphNode_t from[2];
  cudaGraphNode_t to[2];
  cudaGraphEdgeData edges[2];
  number = 2;
  ASSERT_CUDA(cudaGraphGetEdges(graph, from, to, edges, &number));
  EXPECT_EQ(2U, number);
  EXPECT_EQ(a, from[0]);
  EXPECT_EQ(b, to[0]);
  EXPECT_EQ(b, from[1]);
  EXPECT_EQ(c, to[1]);
  EXPECT_EQ(0, edges[0].type);
  number = 1;
  ASSERT_CUDA(cudaGraphGetEdges(graph, from, to, nullptr, &number));
  EXPECT_EQ(1U, number);
}

TEST_F(Graphs, RefuseWhatIsNotValid) {
  const cudaGraph_t graph = makeGraph();
  const cudaGraphNode_t a = addEmpty(graph);
  const cudaGraphNode_t b = addEmpty(graph, {a});
  const cudaGraph_t other = makeGraph();
  const cudaGraphNode_t foreign = addEmpty(other);
  cudaGraphNode_t node = nullptr;
  const cudaGraphNode_t twice[2] = {a, a};
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddEmptyNode(&node, graph, &foreign, 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddEmptyNode(&node, graph, twice, 2));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddEmptyNode(&node, graph, nullptr, 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddEmptyNode(nullptr, graph, nullptr, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddDependencies(graph, &a, &a, nullptr, 1));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddDependencies(graph, &a, &b, nullptr, 1)) << "present already";
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddDependencies(graph, &foreign, &a, nullptr, 1));
  cudaGraphEdgeData programmatic{};
  programmatic.type = 1;
  const cudaGraphNode_t c = addEmpty(graph);
  EXPECT_EQ(cudaErrorNotSupported, cudaGraphAddDependencies(graph, &a, &c, &programmatic, 1));
  EXPECT_CUDA(cudaGraphAddDependencies(graph, nullptr, nullptr, nullptr, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphCreate(nullptr, 0));
  cudaGraph_t flagged = nullptr;
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphCreate(&flagged, 1));
  cudaGraphNodeType type;
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphNodeGetType(nullptr, &type));
  size_t number = 1;
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphGetEdges(graph, &node, nullptr, nullptr, &number));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphGetNodes(graph, nullptr, nullptr));
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphInstantiate(nullptr, graph, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphInstantiate(&exec, graph, 16));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphInstantiate(&exec, graph, cudaGraphInstantiateFlagUpload));
  EXPECT_EQ(cudaErrorNotSupported, cudaGraphInstantiate(&exec, graph, cudaGraphInstantiateFlagDeviceLaunch));
  // Freed handles, of a graph and of its nodes.
  ASSERT_CUDA(cudaGraphDestroy(graph));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphDestroy(graph));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphNodeGetType(a, &type));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphInstantiate(&exec, graph, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphClone(&flagged, graph));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphLaunch(nullptr, nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphExecDestroy(reinterpret_cast<cudaGraphExec_t>(other)));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphDebugDotPrint(other, nullptr, 0));
  EXPECT_EQ(cudaErrorOperatingSystem, cudaGraphDebugDotPrint(other, "/nowhere/at/all.dot", 0));
}

TEST_F(Graphs, CirclesCannotBeInstantiated) {
  const cudaGraph_t graph = makeGraph();
  const cudaGraphNode_t a = addEmpty(graph);
  const cudaGraphNode_t b = addEmpty(graph, {a});
  ASSERT_CUDA(cudaGraphAddDependencies(graph, &b, &a, nullptr, 1));
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphInstantiate(&exec, graph, 0));
}

TEST_F(Graphs, OrderFollowsDependenciesThenCreation) {
  Graph graph(nullptr, 0);
  GraphNode* a = graph.add(Work{}, 0, {});
  GraphNode* b = graph.add(Work{}, 0, {});
  GraphNode* c = graph.add(Work{}, 0, {});
  GraphNode* d = graph.add(Work{}, 0, {a});
  a->dependencies = {c};
  std::vector<const GraphNode*> order;
  ASSERT_TRUE(graph.order(&order));
  EXPECT_EQ((std::vector<const GraphNode*>{b, c, a, d}), order);
  c->dependencies = {d};
  EXPECT_FALSE(graph.order(&order));
}

TEST_F(Graphs, RunAgainAndAgainInOrder) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t other = makeStream();
  std::atomic<int> runs{0};
  Gate gate;
  const cudaGraph_t graph = capture(stream, [&] { EXPECT_CUDA(cudaLaunchHostFunc(stream, &count, &runs)); });
  const cudaGraphExec_t exec = instantiate(graph);
  ASSERT_CUDA(cudaGraphDestroy(graph));
  gate.put(stream);
  for (int i = 0; i < 10; ++i) ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  // Launches of one executable graph follow each other, on whichever streams.
  ASSERT_CUDA(cudaGraphLaunch(exec, other));
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(other));
  EXPECT_EQ(0, runs.load());
  ASSERT_CUDA(cudaGraphExecDestroy(exec));  // while launches are pending
  EXPECT_EQ(0U, usage(0).graph_execs);
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphLaunch(exec, stream));
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(other));
  EXPECT_EQ(11, runs.load());
}

TEST_F(Graphs, ReplayAfterFreeIsAnIllegalAddress) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(4096);
  const cudaGraphExec_t exec = instantiate(capture(stream, [&] { EXPECT_CUDA(cudaMemsetAsync(device, 1, 4096, stream)); }));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  ASSERT_CUDA(cudaFree(device));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  EXPECT_EQ(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  const std::string text = errorText(0);
  EXPECT_NE(std::string::npos, text.find("cudaMemsetAsync, replayed from a graph")) << text;
  EXPECT_NE(std::string::npos, text.find("freed")) << text;
  void* pointer = nullptr;
  EXPECT_EQ(cudaErrorIllegalAddress, cudaMalloc(&pointer, 1));
}

TEST_F(Graphs, ChildGraphsAreCopiedAndRun) {
  const cudaStream_t stream = makeStream();
  std::atomic<int> runs{0};
  const cudaGraph_t child = capture(stream, [&] {
    EXPECT_CUDA(cudaLaunchHostFunc(stream, &count, &runs));
    EXPECT_CUDA(cudaLaunchHostFunc(stream, &count, &runs));
  });
  const cudaGraph_t graph = makeGraph();
  cudaGraphNode_t node = nullptr;
  ASSERT_CUDA(cudaGraphAddChildGraphNode(&node, graph, nullptr, 0, child));
  ASSERT_CUDA(cudaGraphAddChildGraphNode(&node, graph, &node, 1, child));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGraphAddChildGraphNode(&node, graph, nullptr, 0, graph));
  ASSERT_CUDA(cudaGraphDestroy(child));
  cudaGraphNodeType type = cudaGraphNodeTypeCount;
  ASSERT_CUDA(cudaGraphNodeGetType(node, &type));
  EXPECT_EQ(cudaGraphNodeTypeGraph, type);
  cudaGraph_t clone = nullptr;
  ASSERT_CUDA(cudaGraphClone(&clone, graph));
  ASSERT_CUDA(cudaGraphDestroy(graph));
  ASSERT_CUDA(cudaGraphLaunch(instantiate(clone), stream));
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(4, runs.load());
}

TEST_F(Graphs, CanBeUpdatedWithTheSameTopology) {
  const cudaStream_t stream = makeStream();
  const cudaStream_t fork = makeStream();
  const cudaEvent_t event = makeEvent();
  auto* device = makeDevice<char>(16);
  std::atomic<int> runs{0};
  const auto memsets = [&](int number, int value) {
    return capture(stream, [&] {
      for (int i = 0; i < number; ++i) EXPECT_CUDA(cudaMemsetAsync(device + i, value, 1, stream));
    });
  };
  const cudaGraphExec_t exec = instantiate(memsets(2, 1));
  cudaGraphExecUpdateResultInfo info{};
  Gate gate;
  gate.put(stream);
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));  // keeps what it was launched with
  char first = 0;
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 1));
  ASSERT_CUDA(cudaMemcpyAsync(pinned, device, 1, cudaMemcpyDeviceToHost, stream));
  EXPECT_CUDA(cudaGraphExecUpdate(exec, memsets(2, 2), &info)) << "other arguments";
  EXPECT_EQ(cudaGraphExecUpdateSuccess, info.result);
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(1, *static_cast<char*>(pinned));
  ASSERT_CUDA(cudaGraphLaunch(exec, stream));
  ASSERT_CUDA(cudaMemcpyAsync(&first, device, 1, cudaMemcpyDeviceToHost, stream));
  EXPECT_EQ(2, first);

  EXPECT_EQ(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, memsets(3, 1), &info));
  EXPECT_EQ(cudaGraphExecUpdateErrorTopologyChanged, info.result);
  const cudaGraph_t otherType = capture(stream, [&] {
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 1, stream));
    EXPECT_CUDA(cudaLaunchHostFunc(stream, &count, &runs));
  });
  EXPECT_EQ(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, otherType, &info));
  EXPECT_EQ(cudaGraphExecUpdateErrorNodeTypeChanged, info.result);
  cudaGraphNodeType type = cudaGraphNodeTypeCount;
  EXPECT_CUDA(cudaGraphNodeGetType(info.errorNode, &type));
  EXPECT_EQ(cudaGraphNodeTypeHost, type);
  const cudaGraph_t apart = capture(stream, [&] {
    EXPECT_CUDA(cudaEventRecord(event, stream));
    EXPECT_CUDA(cudaStreamWaitEvent(fork, event, 0));
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 1, stream));
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 1, fork));
    EXPECT_CUDA(cudaEventRecord(event, fork));
    EXPECT_CUDA(cudaStreamWaitEvent(stream, event, 0));
  });
  EXPECT_EQ(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, apart, &info));
  EXPECT_EQ(cudaGraphExecUpdateErrorTopologyChanged, info.result);
  EXPECT_NE(nullptr, info.errorNode);
  EXPECT_EQ(nullptr, info.errorFromNode) << "the number of dependencies differs";
  EXPECT_EQ(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, apart, nullptr));
  EXPECT_CUDA(cudaGraphExecUpdate(exec, memsets(2, 3), nullptr)) << "nobody has to ask";
}

TEST_F(Graphs, UpdateKeepsTheSidesOfACopy) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(64);
  void* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, 64));
  char pageable[8] = {};
  const auto copies = [&](const void* from, int bytes) {
    return capture(stream, [&] {
      EXPECT_CUDA(cudaMemcpyAsync(device, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream));
    });
  };
  cudaGraphExecUpdateResultInfo info{};
  const cudaGraphExec_t exec = instantiate(copies(pinned, 4));
  EXPECT_CUDA(cudaGraphExecUpdate(exec, copies(pageable, 8), &info)) << "host memory of another kind, and more of it";
  EXPECT_EQ(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, copies(device + 32, 4), &info));
  EXPECT_EQ(cudaGraphExecUpdateErrorParametersChanged, info.result);
  EXPECT_NE(nullptr, info.errorNode);
}

TEST_F(Graphs, UpdateTellsTheDependencyThatDiffers) {
  const cudaGraph_t chain = makeGraph();
  const cudaGraphNode_t a = addEmpty(chain);
  addEmpty(chain, {addEmpty(chain, {a})});
  const cudaGraph_t star = makeGraph();
  const cudaGraphNode_t root = addEmpty(star);
  addEmpty(star, {root});
  const cudaGraphNode_t last = addEmpty(star, {root});
  cudaGraphExecUpdateResultInfo info{};
  EXPECT_EQ(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(instantiate(chain), star, &info));
  EXPECT_EQ(cudaGraphExecUpdateErrorTopologyChanged, info.result);
  EXPECT_EQ(last, info.errorNode);
  EXPECT_EQ(root, info.errorFromNode);
}

TEST_F(Graphs, ArePrintedAsDot) {
  const cudaStream_t stream = makeStream();
  auto* device = makeDevice<char>(16);
  const cudaGraph_t graph = capture(stream, [&] {
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 1, stream));
    EXPECT_CUDA(cudaMemsetAsync(device, 0, 1, stream));
  });
  const std::string path = ::testing::TempDir() + "nccl4j_graph.dot";
  ASSERT_CUDA(cudaGraphDebugDotPrint(graph, path.c_str(), cudaGraphDebugDotFlagsVerbose));
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  std::remove(path.c_str());
  EXPECT_EQ(0U, text.str().find("digraph"));
  EXPECT_NE(std::string::npos, text.str().find("MEMSET\\ncudaMemsetAsync"));
  EXPECT_NE(std::string::npos, text.str().find("\"node_0\" -> \"node_1\""));
}

TEST_F(Graphs, EmptyOnesRun) {
  const cudaStream_t stream = makeStream();
  const cudaGraphExec_t exec = instantiate(makeGraph());
  EXPECT_CUDA(cudaGraphUpload(exec, stream));
  EXPECT_CUDA(cudaGraphLaunch(exec, stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  cudaGraphExec_t second = nullptr;
  EXPECT_CUDA(cudaGraphInstantiateWithFlags(&second, makeGraph(), cudaGraphInstantiateFlagUseNodePriority));
}

TEST_F(Graphs, CountAsLiveObjects) {
  const cudaGraph_t graph = makeGraph();
  const cudaGraphExec_t exec = instantiate(graph);
  EXPECT_EQ(1U, usage(0).graphs);
  EXPECT_EQ(1U, usage(0).graph_execs);
  EXPECT_EQ(0U, usage(1).graphs);
  ASSERT_CUDA(cudaGraphExecDestroy(exec));
  ASSERT_CUDA(cudaGraphDestroy(graph));
  EXPECT_EQ(0U, usage(-1).graphs + usage(-1).graph_execs);
}

TEST_F(Graphs, LaunchOnAStreamOfAnotherDeviceIsRefused) {
  const cudaStream_t stream = makeStream();
  const cudaGraphExec_t exec = instantiate(makeGraph());
  ASSERT_CUDA(cudaSetDevice(1));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaGraphLaunch(exec, stream));
  EXPECT_CUDA(cudaGraphLaunch(exec, makeStream()));
}

}  // namespace
}  // namespace emu::test
