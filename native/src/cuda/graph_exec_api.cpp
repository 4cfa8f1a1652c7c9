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

void instantiate(cudaGraphExec_t* out, cudaGraph_t handle, unsigned long long flags) {
  require(given(out) && (flags & ~kFlags) == 0);
  capture::forbidUnsafe();
  const auto graph = graphs().get(handle);
  // There is no device code here that could launch a graph.
  require((flags & cudaGraphInstantiateFlagDeviceLaunch) == 0, cudaErrorNotSupported);
  *out = GraphExec::instantiate(*graph, device::current(), static_cast<unsigned>(flags))->handle();
}

void launch(cudaGraphExec_t handle, cudaStream_t streamHandle) {
  const auto exec = graphExecs().get(handle);
  const auto stream = streams::getForLaunch(streamHandle);
  capture::forbidCapturing(*stream);
  launchFault(stream->device(), "cudaGraphLaunch");
  exec->launch(stream);
}

// Nothing has to be moved to a device; only the arguments are looked at.
void upload(cudaGraphExec_t handle, cudaStream_t stream) {
  graphExecs().get(handle);
  capture::forbidCapturing(*streams::getForLaunch(stream));
}

cudaError_t update(cudaGraphExec_t handle, cudaGraph_t graphHandle, cudaGraphExecUpdateResultInfo* info) {
  const auto exec = graphExecs().get(handle);
  const auto graph = graphs().get(graphHandle);
  require(givenOrNull(info));
  cudaGraphExecUpdateResultInfo unasked;
  return exec->update(*graph, info != nullptr ? info : &unasked);
}

void destroy(cudaGraphExec_t handle) {
  capture::forbidUnsafe();
  require(graphExecs().take(handle) != nullptr);
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
