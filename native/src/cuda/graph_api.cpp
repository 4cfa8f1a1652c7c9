// cudaGraph*: building, asking and printing graphs, which needs no working device; graph_exec_api.cpp runs them.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "cuda/entry.h"
#include "cuda/graph.h"

namespace emu {

namespace {

void create(cudaGraph_t* out, unsigned flags) {
  require(given(out) && flags == 0);
  *out = graphs().create(device::current())->handle();
}

void destroy(cudaGraph_t handle) {
  std::shared_ptr<Graph> graph;  // destroyed after the lock is released
  const std::lock_guard<std::mutex> lock(graphLock());
  graph = graphs().get(handle);
  require(!graph->capturing, cudaErrorIllegalState);
  graphs().take(handle);
}

// The nodes behind handles, which must be all different and all of the graph.
std::vector<GraphNode*> nodesOf(const Graph& graph, const cudaGraphNode_t* handles, size_t count) {
  require(given(handles, count));
  std::vector<GraphNode*> nodes;
  for (size_t i = 0; i < count; ++i) {
    const std::shared_ptr<GraphNode> node = graphNodes().find(handles[i]);
    require(node != nullptr && node->graph == &graph);
    require(std::find(nodes.begin(), nodes.end(), node.get()) == nodes.end());
    nodes.push_back(node.get());
  }
  return nodes;
}

void addEmpty(cudaGraphNode_t* out, cudaGraph_t handle, const cudaGraphNode_t* dependencies, size_t count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  require(given(out));
  const auto graph = graphs().get(handle);
  const auto nodes = nodesOf(*graph, dependencies, count);
  *out = graph->add(Work("", WorkKind::Empty), device::current(), nodes)->handle;
}

void addChild(cudaGraphNode_t* out, cudaGraph_t handle, const cudaGraphNode_t* dependencies, size_t count,
              cudaGraph_t childHandle) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const auto graph = graphs().get(handle);
  const auto child = graphs().get(childHandle);
  require(given(out) && graph != child);
  const auto nodes = nodesOf(*graph, dependencies, count);
  require(!child->hasMemoryNodes(), cudaErrorNotSupported);
  GraphNode* const node = graph->add(Work("", WorkKind::ChildGraph), device::current(), nodes);
  node->child = child->copy();
  *out = node->handle;
}

bool plainEdge(const cudaGraphEdgeData& edge) {
  const cudaGraphEdgeData plain{};
  return std::memcmp(&edge, &plain, sizeof plain) == 0;
}

void addDependencies(cudaGraph_t handle, const cudaGraphNode_t* from, const cudaGraphNode_t* to,
                     const cudaGraphEdgeData* edges, size_t count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const auto graph = graphs().get(handle);
  require(given(from, count) && given(to, count));
  std::vector<std::pair<GraphNode*, GraphNode*>> added;
  for (size_t i = 0; i < count; ++i) {
    const cudaGraphNode_t handles[2] = {from[i], to[i]};
    const auto ends = nodesOf(*graph, handles, 2);  // fails also for a node that depends on itself
    require(edges == nullptr || plainEdge(edges[i]), cudaErrorNotSupported);
    const auto edge = std::make_pair(ends[0], ends[1]);
    const auto& present = ends[1]->dependencies;
    require(std::find(present.begin(), present.end(), ends[0]) == present.end());
    require(std::find(added.begin(), added.end(), edge) == added.end());
    added.push_back(edge);
  }
  for (const auto& edge : added) edge.second->dependencies.push_back(edge.first);
}

// Writes `all` into an array of *count elements as CUDA's getters do: NULL asks for the number; surplus elements become
// NULL.
template <class Element>
void fill(const std::vector<Element>& all, Element* out, size_t count) {
  for (size_t i = 0; out != nullptr && i < count; ++i) out[i] = i < all.size() ? all[i] : Element{};
}

void getNodes(cudaGraph_t handle, cudaGraphNode_t* out, size_t* count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const auto graph = graphs().get(handle);
  require(given(count) && (out == nullptr || room(out, *count)));
  std::vector<cudaGraphNode_t> all;
  for (const auto& node : graph->nodes()) all.push_back(node->handle);
  fill(all, out, *count);
  *count = out != nullptr ? std::min(*count, all.size()) : all.size();
}

void getEdges(cudaGraph_t handle, cudaGraphNode_t* from, cudaGraphNode_t* to, cudaGraphEdgeData* edges, size_t* count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const auto graph = graphs().get(handle);
  require(given(count) && (from == nullptr) == (to == nullptr));
  require(from == nullptr || (room(from, *count) && room(to, *count)));
  require(edges == nullptr || (from != nullptr && room(edges, *count)));
  std::vector<cudaGraphNode_t> sources;
  std::vector<cudaGraphNode_t> targets;
  for (const auto& node : graph->nodes()) {
    for (const GraphNode* before : node->dependencies) {
      sources.push_back(before->handle);
      targets.push_back(node->handle);
    }
  }
  fill(sources, from, *count);
  fill(targets, to, *count);
  fill({}, edges, *count);
  *count = from != nullptr ? std::min(*count, sources.size()) : sources.size();
}

void getType(cudaGraphNode_t handle, cudaGraphNodeType* type) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const auto node = graphNodes().get(handle);
  require(given(type));
  *type = node->type();
}

void cloneGraph(cudaGraph_t* out, cudaGraph_t handle) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const auto graph = graphs().get(handle);
  require(given(out));
  require(!graph->hasMemoryNodes(), cudaErrorNotSupported);
  const std::shared_ptr<Graph> copy = graphs().create(graph->device());
  graph->copyTo(copy.get());
  *out = copy->handle();
}

void print(cudaGraph_t handle, const char* path, unsigned flags) {
  std::string text;
  std::string file;
  {
    const std::lock_guard<std::mutex> lock(graphLock());
    const auto graph = graphs().get(handle);
    require(host::readText(path, &file));
    text = graph->dot((flags & cudaGraphDebugDotFlagsVerbose) != 0);
  }
  std::FILE* out = std::fopen(file.c_str(), "w");
  require(out != nullptr, cudaErrorOperatingSystem);
  const bool written = std::fwrite(text.data(), 1, text.size(), out) == text.size();
  require(std::fclose(out) == 0 && written, cudaErrorOperatingSystem);
}

}  // namespace

EMU_CUDA(OwnDevices, cudaGraphCreate, (cudaGraph_t* graph, unsigned int flags), (made(graph), flags),
         create(graph, flags))

EMU_CUDA(OwnDevices, cudaGraphDestroy, (cudaGraph_t graph), (graph), destroy(graph))

EMU_CUDA(OwnDevices, cudaGraphAddEmptyNode,
         (cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* pDependencies, size_t numDependencies),
         (graph, made(node), numDependencies), addEmpty(node, graph, pDependencies, numDependencies))

EMU_CUDA(OwnDevices, cudaGraphAddChildGraphNode,
         (cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* pDependencies, size_t numDependencies,
          cudaGraph_t childGraph), (graph, made(node), numDependencies, childGraph),
         addChild(node, graph, pDependencies, numDependencies, childGraph))

EMU_CUDA(OwnDevices, cudaGraphAddDependencies,
         (cudaGraph_t graph, const cudaGraphNode_t* from, const cudaGraphNode_t* to, const cudaGraphEdgeData* edgeData,
          size_t numDependencies), (graph, numDependencies),
         addDependencies(graph, from, to, edgeData, numDependencies))

EMU_CUDA(OwnDevices, cudaGraphGetNodes, (cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* numNodes), (graph),
         getNodes(graph, nodes, numNodes))

EMU_CUDA(OwnDevices, cudaGraphGetEdges,
         (cudaGraph_t graph, cudaGraphNode_t* from, cudaGraphNode_t* to, cudaGraphEdgeData* edgeData, size_t* numEdges),
         (graph), getEdges(graph, from, to, edgeData, numEdges))

EMU_CUDA(OwnDevices, cudaGraphNodeGetType, (cudaGraphNode_t node, cudaGraphNodeType* pType), (node),
         getType(node, pType))

EMU_CUDA(OwnDevices, cudaGraphClone, (cudaGraph_t* clone, cudaGraph_t original), (made(clone), original),
         cloneGraph(clone, original))

EMU_CUDA(OwnDevices, cudaGraphDebugDotPrint, (cudaGraph_t graph, const char* path, unsigned int flags),
         (graph, path, flags), print(graph, path, flags))

}  // namespace emu
