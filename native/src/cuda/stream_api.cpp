// cudaStream* without capture, and host functions.
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
template <class Value, class Getter>
cudaError_t inspect(cudaStream_t handle, Value* out, Getter getter) {
  std::shared_ptr<Stream> stream;
  if (!given(out)) return cudaErrorInvalidValue;
  EMU_TRY(streams::resolve(handle, &stream));
  EMU_TRY(capture::forbidLegacy(*stream));
  *out = ((*stream).*getter)();
  return cudaSuccess;
}

cudaError_t query(cudaStream_t handle) {
  std::shared_ptr<Stream> stream;
  EMU_TRY(streams::resolve(handle, &stream));
  EMU_TRY(capture::forbidUnsafe(*stream));
  EMU_TRY(device::sticky(stream->device()));
  return stream->idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t launchHostFunction(cudaStream_t stream, cudaHostFn_t hostFunction, void* userData) {
  if (hostFunction == nullptr) return cudaErrorInvalidValue;
  return submit(stream, Work("cudaLaunchHostFunc", WorkKind::Host, [hostFunction, userData](WorkContext&) {
                  const HostFunctionScope scope;
                  hostFunction(userData);
                  return cudaSuccess;
                }));
}

cudaError_t destroy(cudaStream_t handle) {
  std::shared_ptr<Stream> found;
  if (streams::resolve(handle, &found) != cudaSuccess || found->handle() != handle) return cudaErrorInvalidResourceHandle;
  capture::streamDestroyed(*found);
  return streams::destroy(handle);
}

}  // namespace

EMU_API cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return EMU_CALL(entry, (made(stream)), create(stream, cudaStreamDefault, 0));
}

EMU_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return EMU_CALL(entry, (made(stream), flags), create(stream, flags, 0));
}

EMU_API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int priority) {
  return EMU_CALL(entry, (made(stream), flags, priority), create(stream, flags, priority));
}

EMU_API cudaError_t cudaStreamDestroy(cudaStream_t stream) { return EMU_CALL(entry, (stream), destroy(stream)); }

EMU_API cudaError_t cudaStreamQuery(cudaStream_t stream) { return EMU_CALL(entry, (stream), query(stream)); }

EMU_API cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return EMU_CALL(entry, (stream), drain(stream)); }

EMU_API cudaError_t cudaStreamGetDevice(cudaStream_t stream, int* device) {
  return EMU_CALL(entry, (stream), inspect(stream, device, &Stream::device));
}

EMU_API cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned int* flags) {
  return EMU_CALL(entry, (stream), inspect(stream, flags, &Stream::flags));
}

EMU_API cudaError_t cudaStreamGetId(cudaStream_t stream, unsigned long long* streamId) {
  return EMU_CALL(entry, (stream), inspect(stream, streamId, &Stream::id));
}

EMU_API cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  return EMU_CALL(entry, (stream), inspect(stream, priority, &Stream::priority));
}

EMU_API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* userData) {
  return EMU_CALL(entry, (stream, fn, userData), launchHostFunction(stream, fn, userData));
}

}  // namespace emu
