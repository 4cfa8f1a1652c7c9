// Emulated devices: the current one per thread, and the sticky error of each.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "abi/cuda_runtime.h"
#include "base/never_destroyed.h"
#include "base/options.h"

namespace emu::device {

// What is kept of each device; T is a type of the caller's own.
template <class T>
T& perDevice(int device) {
  return neverDestroyed<std::array<T, options::kMostDevices>>()[static_cast<size_t>(device)];
}

int count();
bool exists(int device);
int current();                    // of the calling thread; 0 at first
cudaError_t setCurrent(int device);

// A device error that nothing but cudaDeviceReset clears, such as an illegal address or a trap. The first one stays.
void raise(int device, cudaError_t error, const std::string& text);
cudaError_t sticky(int device);   // cudaSuccess if none
std::string stickyText(int device);
void clearSticky(int device);      // for cudaDeviceReset

bool peerEnabled(int device, int peer);  // cudaDeviceEnablePeerAccess was called
bool enablePeer(int device, int peer);   // false if it was enabled already
void forgetPeers(int device);

// Remembers the error for cudaGetLastError of this thread and returns it.
cudaError_t remember(cudaError_t error);

// What was remembered last; a sticky error counts when a call has answered with it, and each time that one does.
cudaError_t lastError();
cudaError_t takeLastError();      // and forgets it

// In a child process of fork() whose parent used devices: the worker threads are the parent's, so nothing works there,
// as with CUDA itself. Called first by whoever uses a device, which marks this process as one that does.
bool lostByFork();

void countHostWait();             // a calling thread is about to wait for device work
uint64_t hostWaits();

}  // namespace emu::device
