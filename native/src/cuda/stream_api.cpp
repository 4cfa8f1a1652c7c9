// cudaStream* without capture, and host functions.
#include "base/export.h"
#include "base/host_access.h"
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/streams.h"
#include "cuda/work.h"

namespace emu {

namespace {

cudaError_t create(cudaStream_t* out, unsigned flags, int priority) {
  if (!given(out) || (flags & ~unsigned{cudaStreamNonBlocking}) != 0) return cudaErrorInvalidValue;
  *out = streams::create(device::current(), flags, streams::clampPriority(priority))->handle();
  return cudaSuccess;
}

// The answer of a getter about the stream.
template <class Value, class Read>
cudaError_t inspect(cudaStream_t handle, Value* out, Read&& read) {
  std::shared_ptr<Stream> stream;
  if (!given(out)) return cudaErrorInvalidValue;
  const cudaError_t resolved = streams::resolve(handle, &stream);
  if (resolved != cudaSuccess) return resolved;
  const cudaError_t allowed = capture::forbidLegacy(*stream);
  if (allowed == cudaSuccess) read(*stream);
  return allowed;
}

cudaError_t query(cudaStream_t handle) {
  std::shared_ptr<Stream> stream;
  const cudaError_t resolved = streams::resolve(handle, &stream);
  if (resolved != cudaSuccess) return resolved;
  const cudaError_t allowed = capture::forbidUnsafe(*stream);
  if (allowed != cudaSuccess) return allowed;
  const cudaError_t sticky = device::sticky(stream->device());
  if (sticky != cudaSuccess) return sticky;
  return stream->idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t launchHostFunction(cudaStream_t stream, cudaHostFn_t hostFunction, void* userData) {
  if (hostFunction == nullptr) return cudaErrorInvalidValue;
  Work work;
  work.name = "cudaLaunchHostFunc";
  work.kind = WorkKind::Host;
  work.run = [hostFunction, userData](WorkContext&) {
    const HostFunctionScope scope;
    hostFunction(userData);
    return cudaSuccess;
  };
  return submit(stream, std::move(work));
}

void describeStream(Arguments& arguments, cudaStream_t stream) { arguments.pointer("stream", stream); }

}  // namespace

EMU_API cudaError_t cudaStreamCreate(cudaStream_t* pStream) {
  static Function function("cudaStreamCreate");
  return entry(
      function, Needs::Device, [&](Arguments& a) { describeStream(a, produced(pStream)); },
      [&] { return create(pStream, cudaStreamDefault, 0); });
}

EMU_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* pStream, unsigned int flags) {
  static Function function("cudaStreamCreateWithFlags");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        describeStream(a, produced(pStream));
        a.number("flags", flags);
      },
      [&] { return create(pStream, flags, 0); });
}

EMU_API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* pStream, unsigned int flags, int priority) {
  static Function function("cudaStreamCreateWithPriority");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        describeStream(a, produced(pStream));
        a.number("flags", flags);
        a.number("priority", priority);
      },
      [&] { return create(pStream, flags, priority); });
}

EMU_API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  static Function function("cudaStreamDestroy");
  return entry(
      function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); },
      [&] {
        std::shared_ptr<Stream> found;
        if (streams::resolve(stream, &found) != cudaSuccess || found->handle() != stream) return cudaErrorInvalidResourceHandle;
        capture::streamDestroyed(*found);
        return streams::destroy(stream);
      });
}

EMU_API cudaError_t cudaStreamQuery(cudaStream_t stream) {
  static Function function("cudaStreamQuery");
  return entry(function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); }, [&] { return query(stream); });
}

EMU_API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  static Function function("cudaStreamSynchronize");
  return entry(function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); }, [&] { return drain(stream); });
}

EMU_API cudaError_t cudaStreamGetDevice(cudaStream_t stream, int* device) {
  static Function function("cudaStreamGetDevice");
  return entry(
      function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); },
      [&] { return inspect(stream, device, [&](const Stream& found) { *device = found.device(); }); });
}

EMU_API cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned int* flags) {
  static Function function("cudaStreamGetFlags");
  return entry(
      function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); },
      [&] { return inspect(stream, flags, [&](const Stream& found) { *flags = found.flags(); }); });
}

EMU_API cudaError_t cudaStreamGetId(cudaStream_t stream, unsigned long long* streamId) {
  static Function function("cudaStreamGetId");
  return entry(
      function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); },
      [&] { return inspect(stream, streamId, [&](const Stream& found) { *streamId = found.id(); }); });
}

EMU_API cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  static Function function("cudaStreamGetPriority");
  return entry(
      function, Needs::Device, [&](Arguments& a) { describeStream(a, stream); },
      [&] { return inspect(stream, priority, [&](const Stream& found) { *priority = found.priority(); }); });
}

EMU_API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* userData) {
  static Function function("cudaLaunchHostFunc");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        describeStream(a, stream);
        a.pointer("fn", reinterpret_cast<const void*>(fn));
        a.pointer("userData", userData);
      },
      [&] { return launchHostFunction(stream, fn, userData); });
}

}  // namespace emu
