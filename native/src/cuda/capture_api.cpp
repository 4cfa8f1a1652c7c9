// cudaStreamBeginCapture and the other calls of stream capture.
#include "base/export.h"
#include "base/host_access.h"
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/streams.h"

namespace emu {

namespace {

cudaError_t begin(cudaStream_t handle, cudaStreamCaptureMode mode) {
  std::shared_ptr<Stream> stream;
  const cudaError_t resolved = streams::resolve(handle, &stream);
  return resolved != cudaSuccess ? resolved : capture::begin(stream, mode);
}

cudaError_t end(cudaStream_t handle, cudaGraph_t* graph) {
  if (graph != nullptr && !given(graph)) return cudaErrorInvalidValue;
  std::shared_ptr<Stream> stream;
  const cudaError_t resolved = streams::resolve(handle, &stream);
  return resolved != cudaSuccess ? resolved : capture::end(*stream, graph);
}

cudaError_t info(cudaStream_t handle, capture::Info* info) {
  std::shared_ptr<Stream> stream;
  const cudaError_t resolved = streams::resolve(handle, &stream);
  return resolved != cudaSuccess ? resolved : capture::info(*stream, info);
}

template <class Value>
void assign(Value* out, Value value) {
  if (given(out)) *out = value;
}

}  // namespace

EMU_API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  static Function function("cudaStreamBeginCapture");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("stream", stream);
        a.number("mode", mode);
      },
      [&] { return begin(stream, mode); });
}

EMU_API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* pGraph) {
  static Function function("cudaStreamEndCapture");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("stream", stream);
        a.pointer("graph", produced(pGraph));
      },
      [&] { return end(stream, pGraph); });
}

EMU_API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* pCaptureStatus) {
  static Function function("cudaStreamIsCapturing");
  return entry(
      function, Needs::Device, [&](Arguments& a) { a.pointer("stream", stream); },
      [&] {
        if (!given(pCaptureStatus)) return cudaErrorInvalidValue;
        capture::Info found;
        const cudaError_t result = info(stream, &found);
        if (result == cudaSuccess) *pCaptureStatus = found.status;
        return result;
      });
}

EMU_API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* captureStatus_out,
                                             unsigned long long* id_out, cudaGraph_t* graph_out,
                                             const cudaGraphNode_t** dependencies_out, const cudaGraphEdgeData** edgeData_out,
                                             size_t* numDependencies_out) {
  static Function function("cudaStreamGetCaptureInfo");
  return entry(
      function, Needs::Device, [&](Arguments& a) { a.pointer("stream", stream); },
      [&] {
        if (!given(captureStatus_out)) return cudaErrorInvalidValue;
        if (edgeData_out != nullptr && dependencies_out == nullptr) return cudaErrorInvalidValue;
        capture::Info found;
        const cudaError_t result = info(stream, &found);
        if (result != cudaSuccess) return result;
        *captureStatus_out = found.status;
        if (found.status != cudaStreamCaptureStatusActive) return cudaSuccess;
        assign(id_out, found.id);
        assign(graph_out, found.graph);
        assign(dependencies_out, found.dependencies);
        assign(numDependencies_out, found.numDependencies);
        assign(edgeData_out, found.edges);
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  static Function function("cudaThreadExchangeStreamCaptureMode");
  return entry(
      function, Needs::NoHostFunction, [&](Arguments& a) { a.number("mode", given(mode) ? *mode : -1); },
      [&] {
        if (!given(mode) || !capture::isMode(*mode)) return cudaErrorInvalidValue;
        *mode = capture::exchangeThreadMode(*mode);
        return cudaSuccess;
      });
}

}  // namespace emu
