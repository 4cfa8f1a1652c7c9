// Graphs: nodes of work with dependencies, as captured or built by hand.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "abi/cuda_runtime.h"
#include "cuda/handle_table.h"
#include "cuda/work.h"

namespace emu {

class Graph;
class GraphExec;

// One lock guards all graphs and all captures: both are built rarely and never while work runs.
std::mutex& graphLock();

struct GraphNode {
  cudaGraphNode_t handle = nullptr;
  Graph* graph = nullptr;
  size_t index = 0;  // in order of creation
  Work work;
  int device = 0;
  std::vector<GraphNode*> dependencies;
  std::shared_ptr<Graph> child;  // of a child graph node: a copy of its own

  cudaGraphNodeType type() const;
  const char* typeName() const;
};

// All members are to be used under graphLock().
class Graph {
 public:
  Graph(cudaGraph_t handle, int device) : handle_(handle), device_(device) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  cudaGraph_t handle() const { return handle_; }
  int device() const { return device_; }
  const std::vector<std::shared_ptr<GraphNode>>& nodes() const { return nodes_; }

  GraphNode* add(Work work, int device, const std::vector<GraphNode*>& dependencies);
  // An order that respects the dependencies and follows the order of creation where they leave a choice; empty and
  // false if they form a circle.
  bool order(std::vector<const GraphNode*>* nodes) const;
  // Copies nodes and dependencies, child graphs included: into an empty graph, or a new one that has no handle.
  void copyTo(Graph* copy) const;
  std::shared_ptr<Graph> copy() const;
  bool hasMemoryNodes() const;
  // Whether all of `nodes` are among `ends` or before them.
  bool precede(const std::vector<GraphNode*>& nodes, const std::vector<GraphNode*>& ends) const;

  std::string dot(bool verbose) const;

  bool capturing = false;               // a capture still adds to it
  std::weak_ptr<GraphExec> memoryExec;  // the executable form of a graph with memory nodes: there is only ever one

 private:
  const cudaGraph_t handle_;  // NULL for copies inside of other objects
  const int device_;
  std::vector<std::shared_ptr<GraphNode>> nodes_;
};

class GraphTable : public HandleTable<cudaGraph_t, Graph, 0x53> {
 public:
  std::shared_ptr<Graph> create(int device) {
    return insert([&](cudaGraph_t handle) { return std::make_shared<Graph>(handle, device); });
  }
};
inline GraphTable& graphs() { return neverDestroyed<GraphTable>(); }

using GraphNodeTable = HandleTable<cudaGraphNode_t, GraphNode, 0x54>;
inline GraphNodeTable& graphNodes() { return neverDestroyed<GraphNodeTable>(); }

}  // namespace emu
