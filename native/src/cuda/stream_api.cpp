// cudaStream* without capture, and host functions.
#include <algorithm>

#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/streams.h"
#include "cuda/work.h"

namespace emu {

namespace {

void create(cudaStream_t* out, unsigned flags, int priority) {
  require(given(out) && (flags & ~unsigned{cudaStreamNonBlocking}) == 0);
  const int nearest = std::clamp(priority, streams::kGreatestPriority, streams::kLeastPriority);
  *out = streams::create(device::current(), flags, nearest)->handle();
}

// The answer of a getter about the stream.
template <class Value, class Getter>
void inspect(cudaStream_t handle, Value* out, Getter getter) {
  require(given(out));
  const auto stream = streams::get(handle);
  capture::forbidLegacy(*stream);
  *out = ((*stream).*getter)();
}

cudaError_t query(cudaStream_t handle) {
  const auto stream = streams::get(handle);
  capture::forbidUnsafe(*stream);
  check(device::sticky(stream->device()));
  return stream->idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t launchHostFunction(cudaStream_t stream, cudaHostFn_t hostFunction, void* userData) {
  require(hostFunction != nullptr);
  return submit(stream, Work("cudaLaunchHostFunc", WorkKind::Host, [hostFunction, userData](WorkContext&) {
                  const HostFunctionScope scope;
                  hostFunction(userData);
                }));
}

void destroy(cudaStream_t handle) {
  const auto stream = streams::find(handle);
  require(stream != nullptr && stream->handle() == handle, cudaErrorInvalidResourceHandle);
  capture::streamDestroyed(*stream);
  streams::destroy(handle);
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
