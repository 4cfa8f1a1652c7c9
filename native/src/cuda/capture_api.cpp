// cudaStreamBeginCapture and the other calls of stream capture.
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/streams.h"

namespace emu {

namespace {

cudaError_t begin(cudaStream_t handle, cudaStreamCaptureMode mode) {
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolve(handle, &stream));
  return capture::begin(stream, mode);
}

cudaError_t end(cudaStream_t handle, cudaGraph_t* graph) {
  if (!givenOrNull(graph)) return cudaErrorInvalidValue;
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolve(handle, &stream));
  return capture::end(*stream, graph);
}

cudaError_t info(cudaStream_t handle, capture::Info* info) {
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolve(handle, &stream));
  return capture::info(*stream, info);
}

template <class Value>
void assign(Value* out, Value value) {
  if (out != nullptr) *out = value;
}

cudaError_t isCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (!given(status)) return cudaErrorInvalidValue;
  capture::Info found;
  EMU_TRY(info(stream, &found));
  *status = found.status;
  return cudaSuccess;
}

cudaError_t captureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph,
                        const cudaGraphNode_t** dependencies, const cudaGraphEdgeData** edges, size_t* numDependencies) {
  if (!given(status) || (edges != nullptr && dependencies == nullptr)) return cudaErrorInvalidValue;
  if (!givenOrNull(id) || !givenOrNull(graph) || !givenOrNull(dependencies) || !givenOrNull(edges) ||
      !givenOrNull(numDependencies)) {
    return cudaErrorInvalidValue;
  }
  capture::Info found;
  EMU_TRY(info(stream, &found));
  *status = found.status;
  if (found.status != cudaStreamCaptureStatusActive) return cudaSuccess;
  assign(id, found.id);
  assign(graph, found.graph);
  assign(dependencies, found.dependencies);
  assign(numDependencies, found.numDependencies);
  assign(edges, found.edges);
  return cudaSuccess;
}

cudaError_t exchangeMode(cudaStreamCaptureMode* mode) {
  if (!given(mode) || !capture::isMode(*mode)) return cudaErrorInvalidValue;
  *mode = capture::exchangeThreadMode(*mode);
  return cudaSuccess;
}

int valueOf(const cudaStreamCaptureMode* mode) { return given(mode) ? *mode : -1; }

}  // namespace

EMU_CUDA(Device, cudaStreamBeginCapture, (cudaStream_t stream, cudaStreamCaptureMode mode), (stream, mode),
         begin(stream, mode))

EMU_CUDA(Device, cudaStreamEndCapture, (cudaStream_t stream, cudaGraph_t* graph), (stream, made(graph)),
         end(stream, graph))

EMU_CUDA(Device, cudaStreamIsCapturing, (cudaStream_t stream, cudaStreamCaptureStatus* pCaptureStatus), (stream),
         isCapturing(stream, pCaptureStatus))

EMU_CUDA(Device, cudaStreamGetCaptureInfo,
         (cudaStream_t stream, cudaStreamCaptureStatus* captureStatus_out, unsigned long long* id_out,
          cudaGraph_t* graph_out, const cudaGraphNode_t** dependencies_out, const cudaGraphEdgeData** edgeData_out,
          size_t* numDependencies_out), (stream),
         captureInfo(stream, captureStatus_out, id_out, graph_out, dependencies_out, edgeData_out, numDependencies_out))

EMU_CUDA(NoHostFunction, cudaThreadExchangeStreamCaptureMode, (cudaStreamCaptureMode* mode), (valueOf(mode)),
         exchangeMode(mode))

}  // namespace emu
