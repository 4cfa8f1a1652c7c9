// cudaSetDevice, cudaDevice* and what else concerns a device as a whole.
#include <cstdio>
#include <cstring>

#include "base/options.h"
#include "cuda/capture.h"
#include "cuda/entry.h"
#include "cuda/event.h"
#include "cuda/graph_exec.h"
#include "cuda/memory.h"
#include "cuda/streams.h"
#include "cuda/work.h"

namespace emu {

namespace {

// Devices sit on buses of one domain, one each, like the boards of a server.
constexpr int kPciDomain = 0;
constexpr int kFirstBus = 0x10;

// What a board of the compute capability (H200, B200) reports; an attribute that the emulator does not know is an
// error.
void attribute(int* value, cudaDeviceAttr attr, int device) {
  require(given(value));
  require(device::exists(device), cudaErrorInvalidDevice);
  const bool blackwell = options::computeCapability() == 100;
  switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrMaxBlockDimX: *value = 1024; break;
    case cudaDevAttrMaxBlockDimY: *value = 1024; break;
    case cudaDevAttrMaxBlockDimZ: *value = 64; break;
    case cudaDevAttrMaxGridDimX: *value = 2147483647; break;
    case cudaDevAttrMaxGridDimY: *value = 65535; break;
    case cudaDevAttrMaxGridDimZ: *value = 65535; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = 49152; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = 65536; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrClockRate: *value = blackwell ? 1965000 : 1980000; break;
    case cudaDevAttrMultiProcessorCount: *value = options::multiprocessors(); break;
    case cudaDevAttrIntegrated: *value = 0; break;
    case cudaDevAttrCanMapHostMemory: *value = 1; break;
    case cudaDevAttrConcurrentKernels: *value = 1; break;
    case cudaDevAttrPciBusId: *value = kFirstBus + options::machineDevice(device); break;
    case cudaDevAttrPciDeviceId: *value = 0; break;
    case cudaDevAttrPciDomainId: *value = kPciDomain; break;
    case cudaDevAttrMemoryClockRate: *value = blackwell ? 3996000 : 3201000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = blackwell ? 8192 : 6016; break;
    case cudaDevAttrL2CacheSize: *value = blackwell ? 126 << 20 : 60 << 20; break;
    case cudaDevAttrAsyncEngineCount: *value = 3; break;
    case cudaDevAttrUnifiedAddressing: *value = 1; break;
    case cudaDevAttrComputeCapabilityMajor: *value = options::computeCapability() / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = options::computeCapability() % 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 232448; break;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    default: fail(cudaErrorInvalidValue);
  }
}

std::string pciBusId(int device) {
  char text[24];
  const auto bus = static_cast<unsigned>(kFirstBus + options::machineDevice(device));
  std::snprintf(text, sizeof text, "%04X:%02X:00.0", static_cast<unsigned>(kPciDomain), bus);
  return text;
}

void deviceOfBusId(int* device, const char* text) {
  std::string busId;
  require(given(device) && host::readText(text, &busId));
  unsigned domain = 0;
  unsigned bus = 0;
  unsigned slot = 0;
  unsigned functionNumber = 0;
  // Accepted as domain:bus:device.function, domain:bus:device, and bus:device.function.
  if (std::sscanf(busId.c_str(), "%x:%x:%x.%x", &domain, &bus, &slot, &functionNumber) < 3) {
    domain = kPciDomain;
    require(std::sscanf(busId.c_str(), "%x:%x.%x", &bus, &slot, &functionNumber) >= 2);
  }
  for (int index = 0; domain == kPciDomain && slot == 0 && index < device::count(); ++index) {
    if (static_cast<int>(bus) != kFirstBus + options::machineDevice(index)) continue;
    *device = index;
    return;
  }
  fail(cudaErrorInvalidDevice);
}

void reset(int device) {
  capture::abandon(device);
  streams::destroyAll(device);
  graphExecs().removeOf(device);
  graphs().removeOf(device);
  events().removeOf(device);
  memory::forgetDevice(device);
  device::forgetPeers(device);
  device::clearSticky(device);
}

void writeBusId(char* out, int length, int device) {
  require(out != nullptr && length >= 0 && room(out, static_cast<size_t>(length)));
  require(device::exists(device), cudaErrorInvalidDevice);
  const std::string text = pciBusId(device);
  require(static_cast<size_t>(length) > text.size());
  std::memcpy(out, text.c_str(), text.size() + 1);
}

void priorityRange(int* least, int* greatest) {
  require(givenOrNull(least) && givenOrNull(greatest));
  if (least != nullptr) *least = streams::kLeastPriority;
  if (greatest != nullptr) *greatest = streams::kGreatestPriority;
}

void canAccessPeer(int* out, int device, int peer) {
  require(given(out));
  require(device::exists(device) && device::exists(peer), cudaErrorInvalidDevice);
  *out = device != peer ? 1 : 0;
}

void enablePeerAccess(int peer, unsigned flags) {
  require(flags == 0);
  require(device::exists(peer), cudaErrorInvalidDevice);
  require(peer != device::current(), cudaErrorPeerAccessUnsupported);
  require(device::enablePeer(device::current(), peer), cudaErrorPeerAccessAlreadyEnabled);
}

cudaError_t synchronize(int device) {
  capture::forbidDeviceWait(device);
  return drainDevice(device);
}

}  // namespace

EMU_CUDA(Nothing, cudaGetDeviceCount, (int* count), (count), answer(count, device::count()))

EMU_CUDA(NoHostFunction, cudaGetDevice, (int* device), (device), answer(device, device::current()))

EMU_CUDA(NoHostFunction, cudaSetDevice, (int device), (device), device::setCurrent(device))

EMU_CUDA(NoHostFunction, cudaDeviceGetAttribute, (int* value, cudaDeviceAttr attr, int device), (attr, device),
         attribute(value, attr, device))

EMU_CUDA(NoHostFunction, cudaDeviceGetPCIBusId, (char* pciBusId, int len, int device), (len, device),
         writeBusId(pciBusId, len, device))

EMU_CUDA(NoHostFunction, cudaDeviceGetByPCIBusId, (int* device, const char* pciBusId), (pciBusId),
         deviceOfBusId(device, pciBusId))

EMU_CUDA(Device, cudaDeviceGetStreamPriorityRange, (int* leastPriority, int* greatestPriority), (),
         priorityRange(leastPriority, greatestPriority))

EMU_CUDA(NoHostFunction, cudaDeviceCanAccessPeer, (int* can, int device, int peerDevice), (device, peerDevice),
         canAccessPeer(can, device, peerDevice))

EMU_CUDA(Device, cudaDeviceEnablePeerAccess, (int peerDevice, unsigned int flags), (peerDevice, flags),
         enablePeerAccess(peerDevice, flags))

EMU_CUDA(Device, cudaDeviceSynchronize, (), (), synchronize(device::current()))

EMU_CUDA(OwnDevices, cudaDeviceReset, (), (), reset(device::current()))

EMU_CUDA(Nothing, cudaDriverGetVersion, (int* driverVersion), (), answer(driverVersion, CUDART_VERSION))

EMU_CUDA(Nothing, cudaRuntimeGetVersion, (int* runtimeVersion), (), answer(runtimeVersion, CUDART_VERSION))

// Profilers do not attach to the emulator; the calls are only seen in the log.
EMU_CUDA(NoCapture, cudaProfilerStart, (), (), cudaSuccess)

EMU_CUDA(NoCapture, cudaProfilerStop, (), (), cudaSuccess)

}  // namespace emu
