#include "cuda/capture.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/thread.h"

namespace emu {

bool Capture::concerns(int device) const {
  return std::any_of(streams.begin(), streams.end(), [&](const auto& stream) { return stream->device() == device; });
}

namespace capture {

namespace {

std::vector<std::shared_ptr<Capture>>& active() { return neverDestroyed<std::vector<std::shared_ptr<Capture>>>(); }

// How many captures are active: while it is zero, no call has to take the lock.
std::atomic<int> activeCount{0};

thread_local cudaStreamCaptureMode threadMode = cudaStreamCaptureModeGlobal;

// Fails because of something that makes the capture invalid.
[[noreturn]] void invalidate(Capture& capture, cudaError_t why) {
  fail(std::exchange(capture.valid, false) ? why : cudaErrorStreamCaptureInvalidated);
}

void leave(Stream& stream) {
  stream.capture.reset();
  stream.capturing.store(false, std::memory_order_release);
}

void enter(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Capture>& capture,
           std::vector<GraphNode*> last) {
  stream->capture = std::make_unique<StreamCapture>(StreamCapture{capture, std::move(last), {}, {}});
  capture->streams.push_back(stream);
  stream->capturing.store(true, std::memory_order_release);
}

// All streams leave; the capture is over and gives up its graph.
std::shared_ptr<Graph> finish(const std::shared_ptr<Capture>& capture) {
  for (const std::shared_ptr<Stream>& stream : capture->streams) leave(*stream);
  capture->streams.clear();
  capture->ended = true;
  auto& captures = active();
  captures.erase(std::remove(captures.begin(), captures.end(), capture), captures.end());
  activeCount.store(static_cast<int>(captures.size()), std::memory_order_release);
  std::shared_ptr<Graph> graph = std::move(capture->graph);
  graph->capturing = false;
  return graph;
}

// Likewise, and nobody gets the graph; the caller destroys it when it has released the lock.
std::shared_ptr<Graph> discard(const std::shared_ptr<Capture>& capture) {
  capture->valid = false;
  std::shared_ptr<Graph> graph = finish(capture);
  graphs().take(graph->handle());
  return graph;
}

// Makes the captures invalid for which concerned(capture) holds; whether there are any.
template <class Concerned>
bool invalidateEach(Concerned&& concerned) {
  bool found = false;
  for (const std::shared_ptr<Capture>& capture : active()) {
    if (!concerned(*capture)) continue;
    capture->valid = false;
    found = true;
  }
  return found;
}

// Whether use of the device's legacy default stream would become part of the capture: it has a blocking stream there.
bool implicit(const Capture& capture, int device) {
  return std::any_of(capture.streams.begin(), capture.streams.end(),
                     [&](const auto& stream) { return stream->device() == device && stream->blocking(); });
}

void forbidLegacyLocked(Stream& stream) {
  if (!stream.legacy()) return;
  const auto concerned = [&](const Capture& capture) { return implicit(capture, stream.device()); };
  if (invalidateEach(concerned)) fail(cudaErrorStreamCaptureImplicit);
}

void forbidCapturingLocked(Stream& stream) {
  if (stream.capture == nullptr) return forbidLegacyLocked(stream);
  stream.capture->capture->valid = false;
  fail(cudaErrorStreamCaptureUnsupported);
}

void forbidUnsafeLocked() {
  if (threadMode == cudaStreamCaptureModeRelaxed) return;
  const bool found = invalidateEach([](const Capture& capture) {
    const bool own = capture.thread == thread::id() && capture.mode != cudaStreamCaptureModeRelaxed;
    return own || (threadMode == cudaStreamCaptureModeGlobal && capture.mode == cudaStreamCaptureModeGlobal);
  });
  if (found) fail(cudaErrorStreamCaptureUnsupported);
}

// Calls `forbid` under the lock; while there is no capture, nothing is forbidden.
template <class Forbid>
void whileAnyActive(Forbid&& forbid) {
  if (!anyActive()) return;
  const std::lock_guard<std::mutex> lock(graphLock());
  forbid();
}

// What a capturing stream knows of its capture, which is still valid.
StreamCapture& validCapture(Stream& stream) {
  require(stream.capture->capture->valid, cudaErrorStreamCaptureInvalidated);
  return *stream.capture;
}

// Adds a node behind the stream's last ones.
void append(Stream& stream, Work work) {
  StreamCapture& state = validCapture(stream);
  GraphNode* node = state.capture->graph->add(std::move(work), stream.device(), state.last);
  state.last.assign(1, node);
}

void join(std::vector<GraphNode*>* last, const std::vector<GraphNode*>& others) {
  for (GraphNode* node : others) {
    if (std::find(last->begin(), last->end(), node) == last->end()) last->push_back(node);
  }
}

Work externalRecord(const std::shared_ptr<Event>& event) {
  return Work("cudaEventRecord", WorkKind::Event, [event](WorkContext&) { event->recordNow(); });
}

// Has nothing to run: the launch of the graph waits for what the event was last recorded behind.
Work externalWait(const std::shared_ptr<Event>& event) {
  Work work("cudaStreamWaitEvent", WorkKind::EventWait);
  work.event = event;
  return work;
}

void waitCaptured(Stream& stream, const std::shared_ptr<Event>& event, bool external) {
  StreamCapture& state = validCapture(stream);
  if (external) return append(stream, externalWait(event));
  if (event->captured == state.capture) return join(&state.last, event->capturedNodes);
  if (event->captured == nullptr) {
    // Waiting for an event that was never recorded is no dependency on anything.
    if (event->last().point.stream == nullptr) return;
    invalidate(*state.capture, cudaErrorStreamCaptureIsolation);
  }
  if (!event->captured->active()) invalidate(*state.capture, cudaErrorInvalidValue);
  event->captured->valid = false;
  invalidate(*state.capture, cudaErrorStreamCaptureMerge);
}

// An eager stream waits for a captured event: it joins the capture.
void fork(const std::shared_ptr<Stream>& stream, Event& event) {
  require(event.captured->active());
  if (stream->legacy()) invalidate(*event.captured, cudaErrorStreamCaptureImplicit);
  enter(stream, event.captured, event.capturedNodes);
}

bool allJoined(const Capture& capture) {
  const std::vector<GraphNode*>& ends = capture.origin->capture->last;
  if (!capture.graph->precede(capture.orphans, ends)) return false;
  return std::all_of(capture.streams.begin(), capture.streams.end(), [&](const auto& stream) {
    return capture.graph->precede(stream->capture->last, ends);
  });
}

}  // namespace

bool isMode(cudaStreamCaptureMode mode) {
  return mode >= cudaStreamCaptureModeGlobal && mode <= cudaStreamCaptureModeRelaxed;
}

void begin(const std::shared_ptr<Stream>& stream, cudaStreamCaptureMode mode) {
  static unsigned long long lastId = 0;
  require(isMode(mode));
  require(!stream->legacy(), cudaErrorStreamCaptureUnsupported);
  const std::lock_guard<std::mutex> lock(graphLock());
  require(stream->capture == nullptr, cudaErrorIllegalState);
  const std::shared_ptr<Graph> graph = graphs().create(stream->device());
  graph->capturing = true;
  const auto capture = std::make_shared<Capture>();
  capture->id = ++lastId;
  capture->mode = mode;
  capture->thread = thread::id();
  capture->graph = graph;
  capture->origin = stream.get();
  enter(stream, capture, {});
  active().push_back(capture);
  activeCount.store(static_cast<int>(active().size()), std::memory_order_release);
}

cudaError_t end(Stream& stream, cudaGraph_t* graph) {
  if (graph != nullptr) *graph = nullptr;
  std::shared_ptr<Graph> discarded;  // destroyed after the lock is released
  const std::lock_guard<std::mutex> lock(graphLock());
  if (stream.capture == nullptr) return cudaErrorIllegalState;
  const std::shared_ptr<Capture> capture = stream.capture->capture;
  if (capture->origin != &stream) {
    capture->valid = false;
    return cudaErrorStreamCaptureUnmatched;
  }
  cudaError_t result = cudaSuccess;
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != thread::id()) {
    result = cudaErrorStreamCaptureWrongThread;
  } else if (!capture->valid) {
    result = cudaErrorStreamCaptureInvalidated;
  } else if (!allJoined(*capture)) {
    result = cudaErrorStreamCaptureUnjoined;
  }
  if (result == cudaSuccess && graph != nullptr) {
    *graph = finish(capture)->handle();
  } else {
    discarded = discard(capture);
  }
  return result;
}

Info info(Stream& stream) {
  if (!anyActive()) return {};
  const std::lock_guard<std::mutex> lock(graphLock());
  if (stream.legacy()) {
    require(std::none_of(active().begin(), active().end(),
                         [&](const auto& capture) { return implicit(*capture, stream.device()); }),
            cudaErrorStreamCaptureImplicit);
    return {};
  }
  Info info;
  if (stream.capture == nullptr) return info;
  StreamCapture& state = *stream.capture;
  info.status = state.capture->valid ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
  if (!state.capture->valid) return info;
  state.handles.clear();
  for (const GraphNode* node : state.last) state.handles.push_back(node->handle);
  info.id = state.capture->id;
  info.graph = state.capture->graph->handle();
  state.edges.assign(state.handles.size(), cudaGraphEdgeData{});
  info.dependencies = state.handles.data();
  info.edges = state.edges.data();
  info.numDependencies = state.handles.size();
  return info;
}

cudaStreamCaptureMode exchangeThreadMode(cudaStreamCaptureMode mode) { return std::exchange(threadMode, mode); }

bool anyActive() { return activeCount.load(std::memory_order_acquire) != 0; }

bool record(Stream& stream, Work* work) {
  bool captured = false;
  whileAnyActive([&] {
    captured = stream.capture != nullptr;
    captured ? append(stream, std::move(*work)) : forbidLegacyLocked(stream);
  });
  return captured;
}

void forbidLegacy(Stream& stream) { whileAnyActive([&] { forbidLegacyLocked(stream); }); }

void forbidCapturing(Stream& stream) { whileAnyActive([&] { forbidCapturingLocked(stream); }); }

void forbidUnsafe() { whileAnyActive(forbidUnsafeLocked); }

void forbidUnsafe(Stream& stream) {
  whileAnyActive([&] {
    forbidCapturingLocked(stream);
    forbidUnsafeLocked();
  });
}

void forbidDeviceWait(int device) {
  whileAnyActive([&] {
    const bool found = invalidateEach([&](const Capture& capture) { return capture.concerns(device); });
    if (found) fail(cudaErrorStreamCaptureUnsupported);
  });
}

void forbidAsking(Event& event) {
  const std::lock_guard<std::mutex> lock(graphLock());
  if (event.captured == nullptr) return forbidUnsafeLocked();
  require(event.captured->active());
  invalidate(*event.captured, cudaErrorCapturedEvent);
}

void forbidTiming(Event& event) {
  const std::lock_guard<std::mutex> lock(graphLock());
  if (event.captured != nullptr) fail(event.captured->active() ? cudaErrorCapturedEvent : cudaErrorInvalidValue);
}

void recordEvent(Stream& stream, const std::shared_ptr<Event>& event, bool external) {
  const std::lock_guard<std::mutex> lock(graphLock());
  if (stream.capture != nullptr) {
    const StreamCapture& state = validCapture(stream);
    if (external) return append(stream, externalRecord(event));
    event->captured = state.capture;
    event->capturedNodes = state.last;
    return;
  }
  require(!external, cudaErrorIllegalState);  // a node of a graph or nothing
  forbidLegacyLocked(stream);
  event->captured = nullptr;
  event->capturedNodes.clear();
  event->record(stream);
}

void waitEvent(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Event>& event, bool external) {
  const std::lock_guard<std::mutex> lock(graphLock());
  if (stream->capture != nullptr) return waitCaptured(*stream, event, external);
  require(!external, cudaErrorIllegalState);  // a node of a graph or nothing
  if (event->captured != nullptr) return fork(stream, *event);
  forbidLegacyLocked(*stream);
  const Recording last = event->last();
  if (!last.point.reached()) stream->enqueue({}, {last.point});
}

void streamDestroyed(Stream& stream) {
  if (!anyActive()) return;
  std::shared_ptr<Graph> discarded;  // destroyed after the lock is released
  const std::lock_guard<std::mutex> lock(graphLock());
  if (stream.capture == nullptr) return;
  const std::shared_ptr<Capture> capture = stream.capture->capture;
  if (capture->origin == &stream) {
    discarded = discard(capture);
    return;
  }
  join(&capture->orphans, stream.capture->last);
  auto& streams = capture->streams;
  const auto same = [&](const auto& other) { return other.get() == &stream; };
  streams.erase(std::remove_if(streams.begin(), streams.end(), same), streams.end());
  leave(stream);
}

void abandon(int device) {
  std::vector<std::shared_ptr<Graph>> discarded;  // destroyed after the lock is released
  const std::lock_guard<std::mutex> lock(graphLock());
  const std::vector<std::shared_ptr<Capture>> all = active();
  for (const std::shared_ptr<Capture>& capture : all) {
    if (capture->concerns(device)) discarded.push_back(discard(capture));
  }
}

}  // namespace capture
}  // namespace emu
