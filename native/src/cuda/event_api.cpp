// cudaEvent* and cudaStreamWaitEvent.
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
  const auto make = [&](cudaEvent_t handle) { return std::make_shared<Event>(handle, device::current(), flags); };
  *out = events().insert(make)->handle();
  return cudaSuccess;
}

cudaError_t record(cudaEvent_t handle, cudaStream_t streamHandle, unsigned flags) {
  if ((flags & ~unsigned{cudaEventRecordExternal}) != 0) return cudaErrorInvalidValue;
  const std::shared_ptr<Event> event = events().find(handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolveForLaunch(streamHandle, &stream));
  if (event->device() != stream->device()) return cudaErrorInvalidResourceHandle;
  return capture::recordEvent(*stream, event, (flags & cudaEventRecordExternal) != 0);
}

cudaError_t wait(cudaStream_t streamHandle, cudaEvent_t handle, unsigned flags) {
  if ((flags & ~unsigned{cudaEventWaitExternal}) != 0) return cudaErrorInvalidValue;
  const std::shared_ptr<Event> event = events().find(handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolve(streamHandle, &stream));
  return capture::waitEvent(stream, event, (flags & cudaEventWaitExternal) != 0);
}

// The event's last eager recording, or why it cannot be asked: `forbid` is what a capture says of it.
cudaError_t lastRecording(cudaEvent_t handle, cudaError_t (*forbid)(Event&), Recording* recording) {
  const std::shared_ptr<Event> event = events().find(handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  EMU_TRY(forbid(*event));
  *recording = event->last();
  return device::sticky(event->device());
}

cudaError_t elapsed(float* ms, cudaEvent_t start, cudaEvent_t end) {
  if (!given(ms)) return cudaErrorInvalidValue;
  uint64_t times[2];
  cudaError_t result = cudaSuccess;
  const cudaEvent_t handles[2] = {start, end};
  for (int i = 0; i < 2; ++i) {
    const std::shared_ptr<Event> event = events().find(handles[i]);
    if (event == nullptr || !event->timed()) return cudaErrorInvalidResourceHandle;
    Recording recording;
    EMU_TRY(lastRecording(handles[i], capture::forbidTiming, &recording));
    if (recording.time == nullptr) return cudaErrorInvalidResourceHandle;
    times[i] = recording.time->load(std::memory_order_acquire);
    if (times[i] == 0) result = cudaErrorNotReady;
  }
  if (result == cudaSuccess) *ms = static_cast<float>((static_cast<double>(times[1]) - static_cast<double>(times[0])) / 1e6);
  return result;
}

cudaError_t query(cudaEvent_t handle) {
  Recording recording;
  EMU_TRY(lastRecording(handle, capture::forbidAsking, &recording));
  return recording.point.reached() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t synchronize(cudaEvent_t handle) {
  Recording recording;
  EMU_TRY(lastRecording(handle, capture::forbidAsking, &recording));
  streams::hostWait(recording.point);
  return recording.point.stream != nullptr ? device::sticky(recording.point.stream->device()) : cudaSuccess;
}

}  // namespace

EMU_CUDA(Device, cudaEventCreate, (cudaEvent_t* event), (made(event)), create(event, cudaEventDefault))

EMU_CUDA(Device, cudaEventCreateWithFlags, (cudaEvent_t* event, unsigned int flags), (made(event), flags),
         create(event, flags))

EMU_CUDA(Device, cudaEventDestroy, (cudaEvent_t event), (event),
         events().take(event) != nullptr ? cudaSuccess : cudaErrorInvalidResourceHandle)

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
