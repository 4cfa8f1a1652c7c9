// cudaGraph*: building, asking and printing graphs, which needs no working device; graph_exec_api.cpp runs them.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "cuda/entry.h"
#include "cuda/graph.h"

namespace emu {

namespace {

cudaError_t create(cudaGraph_t* out, unsigned flags) {
  if (!given(out) || flags != 0) return cudaErrorInvalidValue;
  *out = graphs().create(device::current())->handle();
  return cudaSuccess;
}

cudaError_t destroy(cudaGraph_t handle) {
  std::shared_ptr<Graph> graph;  // destroyed after the lock is released
  const std::lock_guard<std::mutex> lock(graphLock());
  graph = graphs().find(handle);
  if (graph == nullptr) return cudaErrorInvalidValue;
  if (graph->capturing) return cudaErrorIllegalState;
  graphs().take(handle);
  return cudaSuccess;
}

// The nodes behind handles, all different and all of one graph. Under graphLock().
bool nodesOf(const Graph& graph, const cudaGraphNode_t* handles, size_t count, std::vector<GraphNode*>* nodes) {
  if (!given(handles, count)) return false;
  for (size_t i = 0; i < count; ++i) {
    const std::shared_ptr<GraphNode> node = graphNodes().find(handles[i]);
    if (node == nullptr || node->graph != &graph) return false;
    if (std::find(nodes->begin(), nodes->end(), node.get()) != nodes->end()) return false;
    nodes->push_back(node.get());
  }
  return true;
}

cudaError_t addEmpty(cudaGraphNode_t* out, cudaGraph_t handle, const cudaGraphNode_t* dependencies, size_t count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  std::vector<GraphNode*> nodes;
  if (!given(out) || graph == nullptr || !nodesOf(*graph, dependencies, count, &nodes)) return cudaErrorInvalidValue;
  *out = graph->add(Work("", WorkKind::Empty), device::current(), nodes)->handle;
  return cudaSuccess;
}

cudaError_t addChild(cudaGraphNode_t* out, cudaGraph_t handle, const cudaGraphNode_t* dependencies, size_t count,
                     cudaGraph_t childHandle) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  const std::shared_ptr<Graph> child = graphs().find(childHandle);
  if (!given(out) || graph == nullptr || child == nullptr || graph == child) return cudaErrorInvalidValue;
  std::vector<GraphNode*> nodes;
  if (!nodesOf(*graph, dependencies, count, &nodes)) return cudaErrorInvalidValue;
  if (child->hasMemoryNodes()) return cudaErrorNotSupported;
  *out = graph->addChild(child->copy(), device::current(), nodes)->handle;
  return cudaSuccess;
}

bool plainEdge(const cudaGraphEdgeData& edge) {
  const cudaGraphEdgeData plain{};
  return std::memcmp(&edge, &plain, sizeof plain) == 0;
}

cudaError_t addDependencies(cudaGraph_t handle, const cudaGraphNode_t* from, const cudaGraphNode_t* to,
                            const cudaGraphEdgeData* edges, size_t count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  if (graph == nullptr || !given(from, count) || !given(to, count)) return cudaErrorInvalidValue;
  std::vector<std::pair<GraphNode*, GraphNode*>> added;
  for (size_t i = 0; i < count; ++i) {
    std::vector<GraphNode*> ends;
    const cudaGraphNode_t handles[2] = {from[i], to[i]};
    if (!nodesOf(*graph, handles, 2, &ends)) return cudaErrorInvalidValue;  // also a node that depends on itself
    if (edges != nullptr && !plainEdge(edges[i])) return cudaErrorNotSupported;
    const auto edge = std::make_pair(ends[0], ends[1]);
    const auto& present = ends[1]->dependencies;
    if (std::find(present.begin(), present.end(), ends[0]) != present.end()) return cudaErrorInvalidValue;
    if (std::find(added.begin(), added.end(), edge) != added.end()) return cudaErrorInvalidValue;
    added.push_back(edge);
  }
  for (const auto& edge : added) edge.second->dependencies.push_back(edge.first);
  return cudaSuccess;
}

// Writes `all` into an array of *count elements as CUDA's getters do: NULL asks for the number; surplus elements become
// NULL.
template <class Element>
void fill(const std::vector<Element>& all, Element* out, size_t count) {
  for (size_t i = 0; out != nullptr && i < count; ++i) out[i] = i < all.size() ? all[i] : Element{};
}

cudaError_t getNodes(cudaGraph_t handle, cudaGraphNode_t* out, size_t* count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  if (graph == nullptr || !given(count) || (out != nullptr && !room(out, *count))) return cudaErrorInvalidValue;
  std::vector<cudaGraphNode_t> all;
  for (const auto& node : graph->nodes()) all.push_back(node->handle);
  fill(all, out, *count);
  *count = out != nullptr ? std::min(*count, all.size()) : all.size();
  return cudaSuccess;
}

cudaError_t getEdges(cudaGraph_t handle, cudaGraphNode_t* from, cudaGraphNode_t* to, cudaGraphEdgeData* edges, size_t* count) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  if (graph == nullptr || !given(count) || (from == nullptr) != (to == nullptr)) return cudaErrorInvalidValue;
  if (from != nullptr && (!room(from, *count) || !room(to, *count))) return cudaErrorInvalidValue;
  if (edges != nullptr && !room(edges, *count)) return cudaErrorInvalidValue;
  if (from == nullptr && edges != nullptr) return cudaErrorInvalidValue;
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
  return cudaSuccess;
}

cudaError_t getType(cudaGraphNode_t handle, cudaGraphNodeType* type) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<GraphNode> node = graphNodes().find(handle);
  if (node == nullptr || !given(type)) return cudaErrorInvalidValue;
  *type = node->type();
  return cudaSuccess;
}

cudaError_t cloneGraph(cudaGraph_t* out, cudaGraph_t handle) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  if (!given(out) || graph == nullptr) return cudaErrorInvalidValue;
  if (graph->hasMemoryNodes()) return cudaErrorNotSupported;
  const std::shared_ptr<Graph> copy = graphs().create(graph->device());
  graph->copyTo(copy.get());
  *out = copy->handle();
  return cudaSuccess;
}

cudaError_t print(cudaGraph_t handle, const char* path, unsigned flags) {
  std::string text;
  std::string file;
  {
    const std::lock_guard<std::mutex> lock(graphLock());
    const std::shared_ptr<Graph> graph = graphs().find(handle);
    if (graph == nullptr || !host::readText(path, &file)) return cudaErrorInvalidValue;
    text = graph->dot((flags & cudaGraphDebugDotFlagsVerbose) != 0);
  }
  std::FILE* out = std::fopen(file.c_str(), "w");
  if (out == nullptr) return cudaErrorOperatingSystem;
  const bool written = std::fwrite(text.data(), 1, text.size(), out) == text.size();
  return std::fclose(out) == 0 && written ? cudaSuccess : cudaErrorOperatingSystem;
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
