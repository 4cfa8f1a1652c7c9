// cudaEvent* and cudaStreamWaitEvent.
#include "base/export.h"
#include "base/host_access.h"
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/event.h"
#include "cuda/streams.h"

namespace emu {

namespace {

constexpr unsigned kEventFlags = cudaEventBlockingSync | cudaEventDisableTiming | cudaEventInterprocess;

cudaError_t create(cudaEvent_t* out, unsigned flags) {
  if (!given(out) || (flags & ~kEventFlags) != 0) return cudaErrorInvalidValue;
  // There are no handles here to open such events with in another process; in this one they are like others.
  if ((flags & cudaEventInterprocess) != 0 && (flags & cudaEventDisableTiming) == 0) return cudaErrorInvalidValue;
  *out = events::create(device::current(), flags)->handle();
  return cudaSuccess;
}

cudaError_t record(cudaEvent_t handle, cudaStream_t streamHandle, unsigned flags) {
  if ((flags & ~unsigned{cudaEventRecordExternal}) != 0) return cudaErrorInvalidValue;
  const std::shared_ptr<Event> event = events::find(handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  std::shared_ptr<Stream> stream;
  const cudaError_t resolved = streams::resolveForLaunch(streamHandle, &stream);
  if (resolved != cudaSuccess) return resolved;
  if (event->device() != stream->device()) return cudaErrorInvalidResourceHandle;
  return capture::recordEvent(*stream, event, (flags & cudaEventRecordExternal) != 0);
}

cudaError_t wait(cudaStream_t streamHandle, cudaEvent_t handle, unsigned flags) {
  if ((flags & ~unsigned{cudaEventWaitExternal}) != 0) return cudaErrorInvalidValue;
  const std::shared_ptr<Event> event = events::find(handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  std::shared_ptr<Stream> stream;
  const cudaError_t resolved = streams::resolve(streamHandle, &stream);
  if (resolved != cudaSuccess) return resolved;
  return capture::waitEvent(stream, event, (flags & cudaEventWaitExternal) != 0);
}

// The event's last eager recording, or why it cannot be asked: `forbid` is what a capture says of it.
cudaError_t lastRecording(cudaEvent_t handle, cudaError_t (*forbid)(Event&), Recording* recording) {
  const std::shared_ptr<Event> event = events::find(handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  const cudaError_t allowed = forbid(*event);
  if (allowed != cudaSuccess) return allowed;
  *recording = event->last();
  return device::sticky(event->device());
}

cudaError_t elapsed(float* ms, cudaEvent_t start, cudaEvent_t end) {
  if (!given(ms)) return cudaErrorInvalidValue;
  uint64_t times[2];
  cudaError_t result = cudaSuccess;
  const cudaEvent_t handles[2] = {start, end};
  for (int i = 0; i < 2; ++i) {
    const std::shared_ptr<Event> event = events::find(handles[i]);
    if (event == nullptr || !event->timed()) return cudaErrorInvalidResourceHandle;
    Recording recording;
    const cudaError_t answered = lastRecording(handles[i], capture::forbidTiming, &recording);
    if (answered != cudaSuccess) return answered;
    if (recording.time == nullptr) return cudaErrorInvalidResourceHandle;
    times[i] = recording.time->load(std::memory_order_acquire);
    if (times[i] == 0) result = cudaErrorNotReady;
  }
  if (result == cudaSuccess) *ms = static_cast<float>((static_cast<double>(times[1]) - static_cast<double>(times[0])) / 1e6);
  return result;
}

}  // namespace

EMU_API cudaError_t cudaEventCreate(cudaEvent_t* event) {
  static Function function("cudaEventCreate");
  return entry(
      function, Needs::Device, [&](Arguments& a) { a.pointer("event", produced(event)); },
      [&] { return create(event, cudaEventDefault); });
}

EMU_API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  static Function function("cudaEventCreateWithFlags");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("event", produced(event));
        a.number("flags", flags);
      },
      [&] { return create(event, flags); });
}

EMU_API cudaError_t cudaEventDestroy(cudaEvent_t event) {
  static Function function("cudaEventDestroy");
  return entry(
      function, Needs::Device, [&](Arguments& a) { a.pointer("event", event); },
      [&] { return events::take(event) != nullptr ? cudaSuccess : cudaErrorInvalidResourceHandle; });
}

EMU_API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  static Function function("cudaEventRecord");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("event", event);
        a.pointer("stream", stream);
      },
      [&] { return record(event, stream, cudaEventRecordDefault); });
}

EMU_API cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags) {
  static Function function("cudaEventRecordWithFlags");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("event", event);
        a.pointer("stream", stream);
        a.number("flags", flags);
      },
      [&] { return record(event, stream, flags); });
}

EMU_API cudaError_t cudaEventQuery(cudaEvent_t event) {
  static Function function("cudaEventQuery");
  return entry(
      function, Needs::OwnDevices, [&](Arguments& a) { a.pointer("event", event); },
      [&] {
        Recording recording;
        const cudaError_t answered = lastRecording(event, capture::forbidAsking, &recording);
        if (answered != cudaSuccess) return answered;
        return recording.point.reached() ? cudaSuccess : cudaErrorNotReady;
      });
}

EMU_API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  static Function function("cudaEventSynchronize");
  return entry(
      function, Needs::OwnDevices, [&](Arguments& a) { a.pointer("event", event); },
      [&] {
        Recording recording;
        const cudaError_t answered = lastRecording(event, capture::forbidAsking, &recording);
        if (answered != cudaSuccess) return answered;
        streams::hostWait(recording.point);
        return recording.point.stream != nullptr ? device::sticky(recording.point.stream->device()) : cudaSuccess;
      });
}

EMU_API cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  static Function function("cudaEventElapsedTime");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("start", start);
        a.pointer("end", end);
      },
      [&] { return elapsed(ms, start, end); });
}

EMU_API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  static Function function("cudaStreamWaitEvent");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.pointer("stream", stream);
        a.pointer("event", event);
        a.number("flags", flags);
      },
      [&] { return wait(stream, event, flags); });
}

}  // namespace emu
