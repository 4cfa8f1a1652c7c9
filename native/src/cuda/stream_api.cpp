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

EMU_CUDA(Device, cudaStreamCreate, (cudaStream_t* stream), (made(stream)), create(stream, cudaStreamDefault, 0))

EMU_CUDA(Device, cudaStreamCreateWithFlags, (cudaStream_t* stream, unsigned int flags), (made(stream), flags),
         create(stream, flags, 0))

EMU_CUDA(Device, cudaStreamCreateWithPriority, (cudaStream_t* stream, unsigned int flags, int priority),
         (made(stream), flags, priority), create(stream, flags, priority))

EMU_CUDA(Device, cudaStreamDestroy, (cudaStream_t stream), (stream), destroy(stream))

EMU_CUDA(Device, cudaStreamQuery, (cudaStream_t stream), (stream), query(stream))

EMU_CUDA(Device, cudaStreamSynchronize, (cudaStream_t stream), (stream), drain(stream))

EMU_CUDA(Device, cudaStreamGetDevice, (cudaStream_t stream, int* device), (stream),
         inspect(stream, device, &Stream::device))

EMU_CUDA(Device, cudaStreamGetFlags, (cudaStream_t stream, unsigned int* flags), (stream),
         inspect(stream, flags, &Stream::flags))

EMU_CUDA(Device, cudaStreamGetId, (cudaStream_t stream, unsigned long long* streamId), (stream),
         inspect(stream, streamId, &Stream::id))

EMU_CUDA(Device, cudaStreamGetPriority, (cudaStream_t stream, int* priority), (stream),
         inspect(stream, priority, &Stream::priority))

EMU_CUDA(Device, cudaLaunchHostFunc, (cudaStream_t stream, cudaHostFn_t fn, void* userData), (stream, fn, userData),
         launchHostFunction(stream, fn, userData))

}  // namespace emu
