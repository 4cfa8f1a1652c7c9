#include "cuda/graph_exec.h"

#include <algorithm>

#include "cuda/device.h"
#include "cuda/event.h"
#include "cuda/graph_memory.h"

namespace emu {

namespace {

void runSteps(const GraphPlan& plan, Stream& stream) {
  WorkContext context;
  context.stream = stream.handle();
  context.fromGraph = true;
  for (const GraphPlan::Step& step : plan.steps) {
    context.device = step.device;
    if (device::sticky(step.device) != cudaSuccess || execute(step.work, context) != cudaSuccess) return;
  }
}

bool appendSteps(const Graph& graph, GraphPlan* plan) {
  std::vector<const GraphNode*> ordered;
  if (!graph.order(&ordered)) return false;
  for (const GraphNode* node : ordered) {
    if (node->child != nullptr) {
      if (!appendSteps(*node->child, plan)) return false;
      continue;
    }
    const Work& work = node->work;
    if (work.kind == WorkKind::Empty) continue;
    if (work.kind == WorkKind::EventWait) plan->waits.push_back(work.event);
    if (work.kind == WorkKind::MemAlloc) plan->allocated.push_back(work.memory);
    if (work.kind == WorkKind::MemFree) {
      const auto own = std::find(plan->allocated.begin(), plan->allocated.end(), work.memory);
      if (own != plan->allocated.end()) {
        plan->allocated.erase(own);
      } else {
        plan->freed.push_back(work.memory);
      }
    }
    plan->steps.push_back(GraphPlan::Step{work, node->device});
  }
  return true;
}

std::shared_ptr<const GraphPlan> makePlan(const Graph& graph) {
  auto plan = std::make_shared<GraphPlan>();
  return appendSteps(graph, plan.get()) ? plan : nullptr;
}

bool dependsOn(const GraphNode& node, size_t index) {
  return std::any_of(node.dependencies.begin(), node.dependencies.end(),
                     [&](const GraphNode* before) { return before->index == index; });
}

// Whether the dependencies of `node` are not those of `old`; *from is the first one that `old` lacks, if it is one.
bool dependenciesDiffer(const GraphNode& old, const GraphNode& node, const GraphNode** from) {
  if (old.dependencies.size() != node.dependencies.size()) return true;
  for (const GraphNode* before : node.dependencies) {
    if (dependsOn(old, before->index)) continue;
    *from = before;
    return true;
  }
  return false;
}

// What forbids `b` to take the place of `a`; *where is the node of b concerned and *from its dependency, where that is
// so. Nodes correspond in the order of their creation.
cudaGraphExecUpdateResult difference(const Graph& a, const Graph& b, const GraphNode** where, const GraphNode** from) {
  if (a.nodes().size() != b.nodes().size()) return cudaGraphExecUpdateErrorTopologyChanged;
  for (size_t i = 0; i < a.nodes().size(); ++i) {
    const GraphNode& old = *a.nodes()[i];
    const GraphNode& node = *b.nodes()[i];
    *where = &node;
    if (old.type() != node.type()) return cudaGraphExecUpdateErrorNodeTypeChanged;
    if (dependenciesDiffer(old, node, from)) return cudaGraphExecUpdateErrorTopologyChanged;
    const bool samePlaces = old.device == node.device && old.work.places == node.work.places;
    if (!samePlaces) return cudaGraphExecUpdateErrorParametersChanged;
    if (old.child == nullptr) continue;
    const GraphNode* inner[2] = {nullptr, nullptr};
    const cudaGraphExecUpdateResult result = difference(*old.child, *node.child, &inner[0], &inner[1]);
    if (result != cudaGraphExecUpdateSuccess) return result;
  }
  *where = nullptr;
  return cudaGraphExecUpdateSuccess;
}

}  // namespace

std::shared_ptr<GraphExec> GraphExec::instantiate(Graph& graph, int device, unsigned flags) {
  const std::lock_guard<std::mutex> lock(graphLock());
  const bool memoryNodes = graph.hasMemoryNodes();
  require(!memoryNodes || graph.memoryExec.expired(), cudaErrorNotSupported);
  std::shared_ptr<const GraphPlan> plan = makePlan(graph);
  require(plan != nullptr);
  const auto made = graphExecs().insert([&](cudaGraphExec_t handle) {
    return std::make_shared<GraphExec>(handle, device, flags, graph.copy(), std::move(plan));
  });
  if (memoryNodes) graph.memoryExec = made;
  return made;
}

void GraphExec::launch(const std::shared_ptr<Stream>& stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<GraphMemory>> leftOver;  // by an earlier launch, freed by nobody
  for (const auto& memory : plan_->allocated) {
    if (!memory->allocated.load()) continue;
    require((flags_ & cudaGraphInstantiateFlagAutoFreeOnLaunch) != 0);
    leftOver.push_back(memory);
  }
  std::vector<Point> after;
  if (!lastLaunch_.reached()) after.push_back(lastLaunch_);
  for (const auto& event : plan_->waits) {
    const Point point = event->last().point;
    if (!point.reached()) after.push_back(point);
  }
  if (!leftOver.empty()) {
    auto freeAll = [leftOver = std::move(leftOver)](Stream&) {
      for (const auto& memory : leftOver) memory->free("cudaGraphLaunch");
    };
    stream->enqueue({std::move(freeAll), nullptr}, after);
    after.clear();
  }
  for (const GraphPlan::Step& step : plan_->steps) {
    if (step.work.issued) step.work.issued();
  }
  for (const auto& memory : plan_->allocated) memory->allocated = true;
  for (const auto& memory : plan_->freed) memory->allocated = false;
  lastLaunch_ = stream->enqueue({[plan = plan_](Stream& on) { runSteps(*plan, on); }, nullptr}, std::move(after));
}

cudaError_t GraphExec::update(const Graph& graph, cudaGraphExecUpdateResultInfo* info) {
  // What is replaced is destroyed when no lock is held: its work may own things that are slow to end.
  std::shared_ptr<const Graph> origin;
  std::shared_ptr<const GraphPlan> plan;
  *info = cudaGraphExecUpdateResultInfo{cudaGraphExecUpdateSuccess, nullptr, nullptr};
  const std::lock_guard<std::mutex> lock(graphLock());
  const GraphNode* where = nullptr;
  const GraphNode* from = nullptr;
  info->result = difference(*origin_, graph, &where, &from);
  if (info->result == cudaGraphExecUpdateSuccess) {
    plan = makePlan(graph);
    if (plan != nullptr) {
      origin = graph.copy();
      origin.swap(origin_);
      const std::lock_guard<std::mutex> ownLock(mutex_);
      plan.swap(plan_);
      return cudaSuccess;
    }
    info->result = cudaGraphExecUpdateError;
  }
  if (where != nullptr) info->errorNode = where->handle;
  if (from != nullptr) info->errorFromNode = from->handle;
  return cudaErrorGraphExecUpdateFailure;
}

}  // namespace emu
