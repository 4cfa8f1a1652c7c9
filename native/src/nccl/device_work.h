// Puts a communicator's work on streams.
#pragma once

#include <functional>
#include <string>

#include "cuda/work.h"
#include "nccl/device_wait.h"
#include "nccl/state.h"

namespace emu::nccl {

using Body = std::function<void(DeviceWait&, WorkContext&)>;

// Enqueues (or records) work of the communicator; `name` is static. Eager work runs in the order of these calls.
// `collective`: what to note of it in the sequence of the communicator's calls; "" = it is no collective.
void enqueue(const Comm& comm, cudaStream_t stream, const char* name, const std::string& collective, Body body);

}  // namespace emu::nccl
