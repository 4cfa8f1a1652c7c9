// Stream capture: which calls it turns into nodes of a graph, and which it forbids.
//
// What a capture forbids makes it invalid, by CUDA's rules: the call returns why, work for its streams is answered with
// cudaErrorStreamCaptureInvalidated from then on, and cudaStreamEndCapture too. The answers are those of a GPU (driver
// 580).
#pragma once

#include <memory>
#include <vector>

#include "abi/cuda_runtime.h"
#include "cuda/event.h"
#include "cuda/graph.h"
#include "cuda/stream.h"
#include "cuda/work.h"

namespace emu {

// One capture sequence, guarded by graphLock() as are the capture members of streams and events.
struct Capture {
  unsigned long long id = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  int thread = 0;                // that began it
  std::shared_ptr<Graph> graph;  // until the capture ends
  bool valid = true;
  bool ended = false;
  Stream* origin = nullptr;
  std::vector<std::shared_ptr<Stream>> streams;  // that take part, the origin first
  std::vector<GraphNode*> orphans;               // last nodes of forked streams that were destroyed

  bool active() const { return valid && !ended; }
  bool concerns(int device) const;
};

// What a stream knows of the capture it takes part in.
struct StreamCapture {
  std::shared_ptr<Capture> capture;
  std::vector<GraphNode*> last;          // what the next operation on the stream depends on
  // What cudaStreamGetCaptureInfo last gave out: the handles of `last`, and the data of as many (plain) edges.
  std::vector<cudaGraphNode_t> handles;
  std::vector<cudaGraphEdgeData> edges;
};

namespace capture {

// ---- the capture calls themselves ----

void begin(const std::shared_ptr<Stream>& stream, cudaStreamCaptureMode mode);
// Without somewhere to put it, the graph is dropped.
cudaError_t end(Stream& stream, cudaGraph_t* graph);
struct Info {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* dependencies = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  size_t numDependencies = 0;
};
Info info(Stream& stream);
bool isMode(cudaStreamCaptureMode mode);
cudaStreamCaptureMode exchangeThreadMode(cudaStreamCaptureMode mode);

// ---- what other calls ask ----

// Whether there is any capture at all; if not, none of the following has anything to say.
bool anyActive();

// Records the work if the stream is capturing; whether it is. Fails if it is and must not be used so, or if it is the
// legacy default stream while a capture forbids that.
bool record(Stream& stream, Work* work);
// Before any use of a stream that puts nothing on it: fails if it is the legacy default stream and a capture forbids
// that.
void forbidLegacy(Stream& stream);
// Likewise for what cannot become part of a capture, such as cudaGraphLaunch: it breaks the stream's own.
void forbidCapturing(Stream& stream);
// Before a call that is potentially unsafe during captures, such as cudaMalloc; if it is about a stream, that is looked
// at first.
void forbidUnsafe();
void forbidUnsafe(Stream& stream);
// Before the host waits for all of a device.
void forbidDeviceWait(int device);
// Before the host waits for or asks about an event, which is also potentially unsafe, or reads its time, which is not.
void forbidAsking(Event& event);
void forbidTiming(Event& event);

// cudaEventRecord and cudaStreamWaitEvent, eagerly or into a capture.
void recordEvent(Stream& stream, const std::shared_ptr<Event>& event, bool external);
void waitEvent(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Event>& event, bool external);

void streamDestroyed(Stream& stream);
void abandon(int device);  // ends all captures on streams of the device

}  // namespace capture
}  // namespace emu
