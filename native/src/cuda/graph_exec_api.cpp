// cudaGraphInstantiate, cudaGraphLaunch and what else concerns executable graphs.
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/graph_exec.h"
#include "cuda/streams.h"
#include "cuda/work.h"

namespace emu {

namespace {

// cudaGraphInstantiateFlagUpload needs a stream, which these calls have not.
constexpr unsigned long long kFlags = cudaGraphInstantiateFlagAutoFreeOnLaunch | cudaGraphInstantiateFlagDeviceLaunch |
                                      cudaGraphInstantiateFlagUseNodePriority;

cudaError_t instantiate(cudaGraphExec_t* out, cudaGraph_t handle, unsigned long long flags) {
  if (!given(out) || (flags & ~kFlags) != 0) return cudaErrorInvalidValue;
  EMU_TRY(capture::forbidUnsafe());
  const std::shared_ptr<Graph> graph = graphs().find(handle);
  if (graph == nullptr) return cudaErrorInvalidValue;
  // There is no device code here that could launch a graph.
  if ((flags & cudaGraphInstantiateFlagDeviceLaunch) != 0) return cudaErrorNotSupported;
  std::shared_ptr<GraphExec> exec;
  EMU_TRY(GraphExec::instantiate(*graph, device::current(), static_cast<unsigned>(flags), &exec));
  *out = exec->handle();
  return cudaSuccess;
}

cudaError_t launch(cudaGraphExec_t handle, cudaStream_t streamHandle) {
  const std::shared_ptr<GraphExec> exec = graphExecs().find(handle);
  if (exec == nullptr) return cudaErrorInvalidValue;
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolveForLaunch(streamHandle, &stream));
  EMU_TRY(capture::forbidCapturing(*stream));
  EMU_TRY(launchFault(stream->device(), "cudaGraphLaunch"));
  return exec->launch(stream);
}

// Nothing has to be moved to a device; only the arguments are looked at.
cudaError_t upload(cudaGraphExec_t handle, cudaStream_t streamHandle) {
  if (graphExecs().find(handle) == nullptr) return cudaErrorInvalidValue;
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolveForLaunch(streamHandle, &stream));
  return capture::forbidCapturing(*stream);
}

cudaError_t update(cudaGraphExec_t handle, cudaGraph_t graphHandle, cudaGraphExecUpdateResultInfo* info) {
  const std::shared_ptr<GraphExec> exec = graphExecs().find(handle);
  const std::shared_ptr<Graph> graph = graphs().find(graphHandle);
  if (exec == nullptr || graph == nullptr || !givenOrNull(info)) return cudaErrorInvalidValue;
  cudaGraphExecUpdateResultInfo unasked;
  return exec->update(*graph, info != nullptr ? info : &unasked);
}

cudaError_t destroy(cudaGraphExec_t handle) {
  EMU_TRY(capture::forbidUnsafe());
  return graphExecs().take(handle) != nullptr ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

EMU_CUDA(Device, cudaGraphInstantiate, (cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags),
         (made(exec), graph, flags), instantiate(exec, graph, flags))

EMU_CUDA(Device, cudaGraphInstantiateWithFlags, (cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags),
         (made(exec), graph, flags), instantiate(exec, graph, flags))

EMU_CUDA(Device, cudaGraphLaunch, (cudaGraphExec_t exec, cudaStream_t stream), (exec, stream), launch(exec, stream))

EMU_CUDA(Device, cudaGraphUpload, (cudaGraphExec_t exec, cudaStream_t stream), (exec, stream), upload(exec, stream))

EMU_CUDA(OwnDevices, cudaGraphExecUpdate,
         (cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* resultInfo), (exec, graph),
         update(exec, graph, resultInfo))

EMU_CUDA(OwnDevices, cudaGraphExecDestroy, (cudaGraphExec_t exec), (exec), destroy(exec))

}  // namespace emu
