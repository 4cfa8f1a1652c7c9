// cudaEvent* and cudaStreamWaitEvent.
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/event.h"
#include "cuda/streams.h"

namespace emu {

namespace {

constexpr unsigned kEventFlags = cudaEventBlockingSync | cudaEventDisableTiming | cudaEventInterprocess;

void create(cudaEvent_t* out, unsigned flags) {
  require(given(out) && (flags & ~kEventFlags) == 0);
  // There are no handles here to open such events with in another process; in this one they are like others.
  require((flags & cudaEventInterprocess) == 0 || (flags & cudaEventDisableTiming) != 0);
  const auto make = [&](cudaEvent_t handle) { return std::make_shared<Event>(handle, device::current(), flags); };
  *out = events().insert(make)->handle();
}

std::shared_ptr<Event> get(cudaEvent_t handle) { return events().get(handle, cudaErrorInvalidResourceHandle); }

void record(cudaEvent_t handle, cudaStream_t streamHandle, unsigned flags) {
  require((flags & ~unsigned{cudaEventRecordExternal}) == 0);
  const auto event = get(handle);
  const auto stream = streams::getForLaunch(streamHandle);
  require(event->device() == stream->device(), cudaErrorInvalidResourceHandle);
  capture::recordEvent(*stream, event, (flags & cudaEventRecordExternal) != 0);
}

void wait(cudaStream_t stream, cudaEvent_t handle, unsigned flags) {
  require((flags & ~unsigned{cudaEventWaitExternal}) == 0);
  const auto event = get(handle);
  capture::waitEvent(streams::get(stream), event, (flags & cudaEventWaitExternal) != 0);
}

// The event's last eager recording; `forbid` is what a capture says of asking for it.
Recording lastRecording(Event& event, void (*forbid)(Event&)) {
  forbid(event);
  Recording recording = event.last();
  check(device::sticky(event.device()));
  return recording;
}

cudaError_t elapsed(float* ms, cudaEvent_t start, cudaEvent_t end) {
  require(given(ms));
  double times[2];
  cudaError_t result = cudaSuccess;
  const cudaEvent_t handles[2] = {start, end};
  for (int i = 0; i < 2; ++i) {
    const auto event = get(handles[i]);
    require(event->timed(), cudaErrorInvalidResourceHandle);
    const Recording recording = lastRecording(*event, capture::forbidTiming);
    require(recording.time != nullptr, cudaErrorInvalidResourceHandle);
    const uint64_t time = recording.time->load(std::memory_order_acquire);
    if (time == 0) result = cudaErrorNotReady;
    times[i] = static_cast<double>(time);
  }
  if (result == cudaSuccess) *ms = static_cast<float>((times[1] - times[0]) / 1e6);
  return result;
}

cudaError_t query(cudaEvent_t event) {
  return lastRecording(*get(event), capture::forbidAsking).point.reached() ? cudaSuccess : cudaErrorNotReady;
}

void synchronize(cudaEvent_t event) {
  const Recording recording = lastRecording(*get(event), capture::forbidAsking);
  streams::hostWait(recording.point);
  if (recording.point.stream != nullptr) check(device::sticky(recording.point.stream->device()));
}

}  // namespace

EMU_CUDA(Device, cudaEventCreate, (cudaEvent_t* event), (made(event)), create(event, cudaEventDefault))

EMU_CUDA(Device, cudaEventCreateWithFlags, (cudaEvent_t* event, unsigned int flags), (made(event), flags),
         create(event, flags))

EMU_CUDA(Device, cudaEventDestroy, (cudaEvent_t event), (event),
         require(events().take(event) != nullptr, cudaErrorInvalidResourceHandle))

EMU_CUDA(Device, cudaEventRecord, (cudaEvent_t event, cudaStream_t stream), (event, stream),
         record(event, stream, cudaEventRecordDefault))

EMU_CUDA(Device, cudaEventRecordWithFlags, (cudaEvent_t event, cudaStream_t stream, unsigned int flags),
         (event, stream, flags), record(event, stream, flags))

EMU_CUDA(OwnDevices, cudaEventQuery, (cudaEvent_t event), (event), query(event))

EMU_CUDA(OwnDevices, cudaEventSynchronize, (cudaEvent_t event), (event), synchronize(event))

EMU_CUDA(Device, cudaEventElapsedTime, (float* ms, cudaEvent_t start, cudaEvent_t end), (start, end),
         elapsed(ms, start, end))

EMU_CUDA(Device, cudaStreamWaitEvent, (cudaStream_t stream, cudaEvent_t event, unsigned int flags),
         (stream, event, flags), wait(stream, event, flags))

}  // namespace emu
