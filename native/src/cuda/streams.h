// All streams of the process: by handle, and by device.
#pragma once

#include <memory>
#include <vector>

#include "abi/cuda_runtime.h"
#include "cuda/stream.h"

namespace emu::streams {

// The stream behind a handle, 0, cudaStreamLegacy and cudaStreamPerThread (of the calling thread's current device)
// included; NULL if there is none.
std::shared_ptr<Stream> find(cudaStream_t handle);
// Likewise; fails with cudaErrorInvalidResourceHandle if there is none.
std::shared_ptr<Stream> get(cudaStream_t handle);
// Likewise for work to be put on it: fails also with a sticky error, and for a stream of another device than the
// current one.
std::shared_ptr<Stream> getForLaunch(cudaStream_t handle);
std::shared_ptr<Stream> legacy(int device);
// NULL if the device's legacy default stream was never used.
std::shared_ptr<Stream> legacyIfUsed(int device);

// Streams of higher priority have lower numbers; what lies outside of the range is taken as its nearest end. Priorities
// are kept and told, but every stream has a thread of its own and none comes first.
constexpr int kLeastPriority = 0;
constexpr int kGreatestPriority = -5;

std::shared_ptr<Stream> create(int device, unsigned flags, int priority);
void destroy(cudaStream_t handle);
void destroyAll(int device);  // for cudaDeviceReset: passes over what has not started and waits for what has

// Every stream of the device that may have work, destroyed ones included.
std::vector<std::shared_ptr<Stream>> ofDevice(int device);
void workerEnded(Stream& stream);
size_t created(int device);  // live streams made by the program; -1 = all devices

// Blocks until the point is reached; counts as a wait of the host if it is not. Does nothing on a worker thread, whose
// own stream could be what it would wait for: there only what finished work owned is given up.
void hostWait(const Point& point);

}  // namespace emu::streams
