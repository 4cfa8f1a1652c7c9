#include "cuda/graph.h"

#include <algorithm>
#include <functional>
#include <queue>

namespace emu {

namespace {

struct NodeType {
  cudaGraphNodeType type;
  const char* name;
};

// In the order of WorkKind.
constexpr NodeType kNodeTypes[] = {
    {cudaGraphNodeTypeKernel, "KERNEL"},
    {cudaGraphNodeTypeMemcpy, "MEMCPY"},
    {cudaGraphNodeTypeMemset, "MEMSET"},
    {cudaGraphNodeTypeHost, "HOST"},
    {cudaGraphNodeTypeEventRecord, "EVENT_RECORD"},
    {cudaGraphNodeTypeEmpty, "EMPTY"},
    {cudaGraphNodeTypeGraph, "GRAPH"},
    {cudaGraphNodeTypeWaitEvent, "EVENT_WAIT"},
    {cudaGraphNodeTypeMemAlloc, "MEM_ALLOC"},
    {cudaGraphNodeTypeMemFree, "MEM_FREE"},
};

const NodeType& typeOf(WorkKind kind) { return kNodeTypes[static_cast<size_t>(kind)]; }

// Nodes as dot statements; those of child graphs in boxes of their own.
void writeDot(const Graph& graph, const std::string& prefix, bool verbose, std::string* text) {
  for (const auto& node : graph.nodes()) {
    const std::string name = prefix + std::to_string(node->index);
    *text += "  \"" + name + "\" [shape=box label=\"" + std::to_string(node->index) + "\\n" + node->typeName();
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

cudaGraphNodeType GraphNode::type() const { return typeOf(work.kind).type; }

const char* GraphNode::typeName() const { return typeOf(work.kind).name; }

Graph::~Graph() {
  for (const auto& node : nodes_) graphNodes().take(node->handle);
}

GraphNode* Graph::add(Work work, int device, const std::vector<GraphNode*>& dependencies) {
  nodes_.push_back(graphNodes().insert([&](cudaGraphNode_t handle) {
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
    if (node->child != nullptr) copied->child = node->child->copy();
  }
  for (const auto& node : nodes_) {
    for (const GraphNode* before : node->dependencies) {
      copy->nodes_[node->index]->dependencies.push_back(copy->nodes_[before->index].get());
    }
  }
}

std::shared_ptr<Graph> Graph::copy() const {
  const auto result = std::make_shared<Graph>(nullptr, device_);
  copyTo(result.get());
  return result;
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

std::string Graph::dot(bool verbose) const {
  std::string text = "digraph \"graph\" {\n";
  writeDot(*this, "node_", verbose, &text);
  return text + "}\n";
}

}  // namespace emu
