#include "cuda/work.h"

#include <exception>

#include "base/faults.h"
#include "base/text.h"
#include "base/wait.h"
#include "cuda/capture.h"
#include "cuda/device.h"
#include "cuda/streams.h"

namespace emu {

namespace {

Task taskOf(Work work) {
  auto run = [work = std::move(work)](Stream& stream) {
    WorkContext context;
    context.device = stream.device();
    context.stream = stream.handle();
    execute(work, context);
  };
  return {std::move(run), nullptr};
}

}  // namespace

void WorkContext::touchOn(int owner, const char* what, const void* address, size_t bytes) {
  if (bytes == 0) return;
  memory::Pin pin;
  std::string why;
  if (!memory::pin(address, bytes, owner, &why, &pin)) {
    text_ = std::string(what) + ": " + std::to_string(bytes) + " bytes at " + why;
    emu::fail(cudaErrorIllegalAddress);
  }
  pins_.push_back(std::move(pin));
}

void WorkContext::fail(cudaError_t error, const char* format, ...) {
  EMU_TEXT(text, format);
  text_ = text;
  emu::fail(error);
}

void WorkContext::clear() {
  text_.clear();
  pins_.clear();
}

cudaError_t execute(const Work& work, WorkContext& context) {
  const bool timed = workLog().on();
  nccl4jEmuWork_t record{};
  if (timed) record.start_ns = now();
  cudaError_t error = cudaSuccess;
  try {
    error = resultOf([&] {
      if (work.run) work.run(context);
    });
  } catch (const std::exception& exception) {
    error = resultOf([&] { context.fail(cudaErrorUnknown, "%s", exception.what()); });
  }
  if (timed) {
    record.end_ns = now();
    record.stream = reinterpret_cast<uintptr_t>(context.stream);
    record.device = context.device;
    record.rank = work.rank;
    record.from_graph = context.fromGraph ? 1 : 0;
    record.error = error;
    copyText(record.operation, work.name);
    workLog().add([&](nccl4jEmuWork_t& kept, uint64_t) { kept = record; });
  }
  if (error != cudaSuccess) {
    std::string text = work.name;
    if (work.rank >= 0) text += ", rank " + std::to_string(work.rank);
    if (context.fromGraph) text += ", replayed from a graph";
    if (!context.text().empty()) text += ": " + context.text();
    device::raise(context.device, error, text);
  }
  context.clear();
  return error;
}

Submitted submitOn(const std::shared_ptr<Stream>& stream, Work work) {
  if (capture::record(*stream, &work)) return {{}, true};
  launchFault(stream->device(), work.name);
  if (work.issued) work.issued();
  return {stream->enqueue(taskOf(std::move(work))), false};
}

cudaError_t submit(cudaStream_t handle, Work work) {
  return resultOf([&] { submitOn(streams::getForLaunch(handle), std::move(work)); });
}

void launchFault(int device, const char* name) {
  if (!faults::failLaunch(device)) return;
  device::raise(device, cudaErrorLaunchFailure, std::string(name) + ": launch failed by an injected fault");
  fail(cudaErrorLaunchFailure);
}

bool isCapturing(cudaStream_t handle) {
  const auto stream = streams::find(handle);
  return stream != nullptr && stream->capturing.load(std::memory_order_acquire);
}

cudaError_t drain(cudaStream_t handle) {
  return resultOf([&] {
    const auto stream = streams::get(handle);
    capture::forbidUnsafe(*stream);
    streams::hostWait(stream->tail());
    return device::sticky(stream->device());
  });
}

cudaError_t drainDevice(int device) {
  for (const std::shared_ptr<Stream>& stream : streams::ofDevice(device)) streams::hostWait(stream->tail());
  return device::sticky(device);
}

}  // namespace emu
