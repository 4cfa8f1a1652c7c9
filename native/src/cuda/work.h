// Work on streams: the one way by which anything asynchronous happens, eagerly or captured into a graph.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/cuda_runtime.h"
#include "base/never_destroyed.h"
#include "base/ring_log.h"
#include "cuda/failure.h"
#include "cuda/memory.h"
#include "cuda/stream.h"
#include "nccl4j_emulator.h"

namespace emu {

class Event;
class GraphMemory;

// What a piece of work sees while it runs, on the worker thread of its stream.
class WorkContext {
 public:
  int device = 0;
  cudaStream_t stream = nullptr;  // the stream of a graph launch for replayed work
  bool fromGraph = false;

  // Checks [address, +bytes) against live allocations; fails with cudaErrorIllegalAddress and a text for the device's
  // sticky error. `what` names operation and tensor, e.g. "ncclEpDispatch on rank 3: outputs.tokens".
  // What was touched stays in place until the work ends, even if another thread frees it meanwhile.
  void touch(const char* what, const void* address, size_t bytes) { touchOn(device, what, address, bytes); }
  // Likewise for memory of any device, as copies may touch it.
  void touchAnywhere(const char* what, const void* address, size_t bytes) { touchOn(-1, what, address, bytes); }
  // Keeps the text, and ends the work.
  [[noreturn]] __attribute__((format(printf, 3, 4))) void fail(cudaError_t error, const char* format, ...);
  const std::string& text() const { return text_; }
  // Ready for the next piece of work.
  void clear();

 private:
  void touchOn(int owner, const char* what, const void* address, size_t bytes);

  std::string text_;
  std::vector<memory::Pin> pins_;
};

enum class WorkKind { Kernel, Memcpy, Memset, Host, Event, Empty, ChildGraph, EventWait, MemAlloc, MemFree };

struct Work {
  Work() = default;
  Work(const char* what, WorkKind sort, std::function<void(WorkContext&)> body = nullptr, int ofRank = -1)
      : name(what), kind(sort), rank(ofRank), run(std::move(body)) {}

  const char* name = "";  // static storage
  WorkKind kind = WorkKind::Kernel;
  int rank = -1;
  // Runs once per execution, replays included: everything that must be frozen at the call is captured by value,
  // everything that must be read at execution is read through pointers. What it fails with becomes the device's sticky
  // error.
  std::function<void(WorkContext&)> run;
  // Called by whoever puts the work on a stream, in the order of the calls: at once, and by each launch of a graph that
  // holds it.
  std::function<void()> issued;
  // Of the CUDA room's own nodes: the devices (-1 = host) that a Memcpy goes to and comes from, which an update of a
  // graph cannot change; the event that an EventWait waits for; the memory that a MemAlloc or MemFree is about.
  std::pair<int, int> places{-1, -1};
  std::shared_ptr<Event> event;
  std::shared_ptr<GraphMemory> memory;
};

struct Submitted {
  Point point;            // of the work, or
  bool captured = false;  // it went into a graph
};

// Enqueues the work on a stream that comes from streams::getForLaunch, or records it if the stream is capturing. Fails
// for a broken capture and an injected fault.
Submitted submitOn(const std::shared_ptr<Stream>& stream, Work work);

// Likewise for any stream, and answers what a kernel launch would: also a sticky error, and that the stream is of
// another device than the thread's current one.
cudaError_t submit(cudaStream_t stream, Work work);

// Record of executed work, for the control interface.
inline RingLog<nccl4jEmuWork_t>& workLog() { return neverDestroyed<RingLog<nccl4jEmuWork_t>>(); }

// Runs one piece of work now, on this thread: its error becomes the device's sticky error. `context` says where.
cudaError_t execute(const Work& work, WorkContext& context);

// Raises the injected fault that is due for a launch on the device, and fails with it.
void launchFault(int device, const char* name);

// Whether the stream is capturing (an invalidated capture counts).
bool isCapturing(cudaStream_t stream);

// Blocks the calling thread until all work enqueued on the stream is done; returns the device's error if it has one.
cudaError_t drain(cudaStream_t stream);
// Likewise for all streams of a device.
cudaError_t drainDevice(int device);

}  // namespace emu
