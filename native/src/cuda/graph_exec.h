// Executable graphs: the work of a graph in the order in which it runs.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "abi/cuda_runtime.h"
#include "cuda/graph.h"
#include "cuda/stream.h"

namespace emu {

// What one launch runs; launches in flight keep theirs when the executable graph is updated or destroyed.
struct GraphPlan {
  struct Step {
    Work work;
    int device;
  };
  std::vector<Step> steps;                           // child graphs unfolded
  std::vector<std::shared_ptr<Event>> waits;         // events that a launch waits for
  std::vector<std::shared_ptr<GraphMemory>> allocated;  // allocated and not freed by the graph itself
  std::vector<std::shared_ptr<GraphMemory>> freed;      // freed and not allocated by the graph itself
};

class GraphExec {
 public:
  // Fails with cudaErrorInvalidValue if the dependencies form a circle, with cudaErrorNotSupported if a graph with
  // memory nodes has an executable form already.
  static std::shared_ptr<GraphExec> instantiate(Graph& graph, int device, unsigned flags);

  GraphExec(cudaGraphExec_t handle, int device, unsigned flags, std::shared_ptr<Graph> origin,
            std::shared_ptr<const GraphPlan> plan)
      : handle_(handle), device_(device), flags_(flags), origin_(std::move(origin)), plan_(std::move(plan)) {}

  cudaGraphExec_t handle() const { return handle_; }
  int device() const { return device_; }

  void launch(const std::shared_ptr<Stream>& stream);
  // The result info tells the first difference that forbids it.
  cudaError_t update(const Graph& graph, cudaGraphExecUpdateResultInfo* info);

 private:
  const cudaGraphExec_t handle_;
  const int device_;
  const unsigned flags_;
  // A copy of the graph that it was made from or last updated with; under graphLock().
  std::shared_ptr<const Graph> origin_;
  std::mutex mutex_;                     // guards the rest
  std::shared_ptr<const GraphPlan> plan_;
  Point lastLaunch_;  // launches of one executable graph run one after the other
};

using GraphExecTable = HandleTable<cudaGraphExec_t, GraphExec, 0x55>;
inline GraphExecTable& graphExecs() { return neverDestroyed<GraphExecTable>(); }

}  // namespace emu
