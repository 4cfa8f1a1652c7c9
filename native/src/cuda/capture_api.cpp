// cudaStreamBeginCapture and the other calls of stream capture.
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/streams.h"

namespace emu {

namespace {

cudaError_t end(cudaStream_t stream, cudaGraph_t* graph) {
  require(givenOrNull(graph));
  return capture::end(*streams::get(stream), graph);
}

template <class Value>
void assign(Value* out, Value value) {
  if (out != nullptr) *out = value;
}

void isCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  require(given(status));
  *status = capture::info(*streams::get(stream)).status;
}

void captureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph,
                 const cudaGraphNode_t** dependencies, const cudaGraphEdgeData** edges, size_t* numDependencies) {
  require(given(status) && (edges == nullptr || dependencies != nullptr));
  require(givenOrNull(id) && givenOrNull(graph) && givenOrNull(dependencies) && givenOrNull(edges) &&
          givenOrNull(numDependencies));
  const capture::Info found = capture::info(*streams::get(stream));
  *status = found.status;
  if (found.status != cudaStreamCaptureStatusActive) return;
  assign(id, found.id);
  assign(graph, found.graph);
  assign(dependencies, found.dependencies);
  assign(numDependencies, found.numDependencies);
  assign(edges, found.edges);
}

void exchangeMode(cudaStreamCaptureMode* mode) {
  require(given(mode) && capture::isMode(*mode));
  *mode = capture::exchangeThreadMode(*mode);
}

int valueOf(const cudaStreamCaptureMode* mode) { return given(mode) ? *mode : -1; }

}  // namespace

EMU_CUDA(Device, cudaStreamBeginCapture, (cudaStream_t stream, cudaStreamCaptureMode mode), (stream, mode),
         capture::begin(streams::get(stream), mode))

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
