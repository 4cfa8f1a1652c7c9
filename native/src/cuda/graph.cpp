#include "cuda/graph.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "cuda/handle_table.h"

namespace emu {

namespace {

constexpr unsigned kGraphTag = 0x53;
constexpr unsigned kNodeTag = 0x54;
using GraphTable = HandleTable<cudaGraph_t, Graph, kGraphTag>;
using NodeTable = HandleTable<cudaGraphNode_t, GraphNode, kNodeTag>;

GraphTable& graphTable() {
  static GraphTable& instance = *new GraphTable;
  return instance;
}

NodeTable& nodeTable() {
  static NodeTable& instance = *new NodeTable;
  return instance;
}

const char* typeName(cudaGraphNodeType type) {
  switch (type) {
    case cudaGraphNodeTypeKernel: return "KERNEL";
    case cudaGraphNodeTypeMemcpy: return "MEMCPY";
    case cudaGraphNodeTypeMemset: return "MEMSET";
    case cudaGraphNodeTypeHost: return "HOST";
    case cudaGraphNodeTypeGraph: return "GRAPH";
    case cudaGraphNodeTypeEmpty: return "EMPTY";
    case cudaGraphNodeTypeWaitEvent: return "EVENT_WAIT";
    case cudaGraphNodeTypeEventRecord: return "EVENT_RECORD";
    case cudaGraphNodeTypeMemAlloc: return "MEM_ALLOC";
    case cudaGraphNodeTypeMemFree: return "MEM_FREE";
    default: return "UNKNOWN";
  }
}

// Nodes as dot statements; those of child graphs in boxes of their own.
void writeDot(const Graph& graph, const std::string& prefix, bool verbose, std::string* text) {
  for (const auto& node : graph.nodes()) {
    const std::string name = prefix + std::to_string(node->index);
    *text += "  \"" + name + "\" [shape=box label=\"" + std::to_string(node->index) + "\\n" + typeName(node->type());
    if (node->work.name[0] != '\0') *text += std::string("\\n") + node->work.name;
    if (verbose) *text += "\\ndevice " + std::to_string(node->device) + ", rank " + std::to_string(node->work.rank);
    *text += "\"];\n";
    for (const GraphNode* before : node->dependencies) {
      *text += "  \"" + prefix + std::to_string(before->index) + "\" -> \"" + name + "\";\n";
    }
    if (node->child != nullptr) {
      *text += "  subgraph \"cluster_" + name + "\" {\n  label=\"child graph of " + name + "\";\n";
      writeDot(*node->child, name + "_", verbose, text);
      *text += "  }\n";
    }
  }
}

}  // namespace

std::mutex& graphLock() {
  static std::mutex& lock = *new std::mutex;
  return lock;
}

cudaGraphNodeType GraphNode::type() const {
  switch (work.kind) {
    case WorkKind::Memcpy: return cudaGraphNodeTypeMemcpy;
    case WorkKind::Memset: return cudaGraphNodeTypeMemset;
    case WorkKind::Host: return cudaGraphNodeTypeHost;
    case WorkKind::Event: return cudaGraphNodeTypeEventRecord;
    case WorkKind::EventWait: return cudaGraphNodeTypeWaitEvent;
    case WorkKind::Empty: return cudaGraphNodeTypeEmpty;
    case WorkKind::ChildGraph: return cudaGraphNodeTypeGraph;
    case WorkKind::MemAlloc: return cudaGraphNodeTypeMemAlloc;
    case WorkKind::MemFree: return cudaGraphNodeTypeMemFree;
    default: return cudaGraphNodeTypeKernel;
  }
}

Graph::~Graph() {
  for (const auto& node : nodes_) nodeTable().take(node->handle);
}

GraphNode* Graph::add(Work work, int device, const std::vector<GraphNode*>& dependencies) {
  nodes_.push_back(nodeTable().insert([&](cudaGraphNode_t handle) {
    auto node = std::make_shared<GraphNode>();
    node->handle = handle;
    node->graph = this;
    node->index = nodes_.size();
    node->work = std::move(work);
    node->device = device;
    node->dependencies = dependencies;
    return node;
  }));
  return nodes_.back().get();
}

GraphNode* Graph::addChild(std::shared_ptr<Graph> child, int device, const std::vector<GraphNode*>& dependencies) {
  Work work;
  work.kind = WorkKind::ChildGraph;
  GraphNode* node = add(std::move(work), device, dependencies);
  node->child = std::move(child);
  return node;
}

bool Graph::order(std::vector<const GraphNode*>* ordered) const {
  std::vector<size_t> missing(nodes_.size(), 0);
  std::vector<std::vector<size_t>> after(nodes_.size());
  for (const auto& node : nodes_) {
    missing[node->index] = node->dependencies.size();
    for (const GraphNode* before : node->dependencies) after[before->index].push_back(node->index);
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (missing[i] == 0) ready.push(i);
  }
  ordered->clear();
  while (!ready.empty()) {
    const size_t index = ready.top();
    ready.pop();
    ordered->push_back(nodes_[index].get());
    for (const size_t next : after[index]) {
      if (--missing[next] == 0) ready.push(next);
    }
  }
  if (ordered->size() == nodes_.size()) return true;
  ordered->clear();
  return false;
}

void Graph::copyTo(Graph* copy) const {
  for (const auto& node : nodes_) {
    GraphNode* copied = copy->add(node->work, node->device, {});
    if (node->child != nullptr) {
      copied->child = std::make_shared<Graph>(nullptr, node->child->device());
      node->child->copyTo(copied->child.get());
    }
  }
  for (const auto& node : nodes_) {
    for (const GraphNode* before : node->dependencies) {
      copy->nodes_[node->index]->dependencies.push_back(copy->nodes_[before->index].get());
    }
  }
}

bool Graph::hasMemoryNodes() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [](const auto& node) {
    return node->work.kind == WorkKind::MemAlloc || node->work.kind == WorkKind::MemFree ||
           (node->child != nullptr && node->child->hasMemoryNodes());
  });
}

bool Graph::precede(const std::vector<GraphNode*>& wanted, const std::vector<GraphNode*>& ends) const {
  std::vector<char> seen(nodes_.size(), 0);
  std::vector<const GraphNode*> open(ends.begin(), ends.end());
  while (!open.empty()) {
    const GraphNode* node = open.back();
    open.pop_back();
    if (seen[node->index] != 0) continue;
    seen[node->index] = 1;
    open.insert(open.end(), node->dependencies.begin(), node->dependencies.end());
  }
  return std::all_of(wanted.begin(), wanted.end(), [&](const GraphNode* node) { return seen[node->index] != 0; });
}

namespace graphs {

std::shared_ptr<Graph> create(int device) {
  return graphTable().insert([&](cudaGraph_t handle) { return std::make_shared<Graph>(handle, device); });
}

std::shared_ptr<Graph> find(cudaGraph_t handle) { return graphTable().find(handle); }

std::shared_ptr<Graph> take(cudaGraph_t handle) { return graphTable().take(handle); }

std::shared_ptr<GraphNode> findNode(cudaGraphNode_t handle) { return nodeTable().find(handle); }

void destroyAll(int device) {
  for (const std::shared_ptr<Graph>& graph : graphTable().all()) {
    if (graph->device() == device) graphTable().take(graph->handle());
  }
}

size_t count(int device) {
  const auto all = graphTable().all();
  return static_cast<size_t>(std::count_if(all.begin(), all.end(), [&](const auto& graph) {
    return device < 0 || graph->device() == device;
  }));
}

std::string dot(const Graph& graph, bool verbose) {
  std::string text = "digraph \"graph\" {\n";
  writeDot(graph, "node_", verbose, &text);
  return text + "}\n";
}

}  // namespace graphs
}  // namespace emu
