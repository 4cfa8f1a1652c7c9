// cudaSetDevice, cudaDevice* and what else concerns a device as a whole.
#include <cstdio>
#include <cstring>

#include "base/export.h"
#include "base/host_access.h"
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

constexpr int kVersion = CUDART_VERSION;
// Devices sit on buses of one domain, one each, like the boards of a server.
constexpr int kPciDomain = 0;
constexpr int kFirstBus = 0x10;

bool valid(int device) { return device >= 0 && device < device::count(); }

// What a board of the compute capability (H200, B200) reports; an attribute that the emulator does not know is an error.
cudaError_t attribute(int* value, cudaDeviceAttr attr, int device) {
  const bool blackwell = options::computeCapability() == 100;
  switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrClockRate: *value = blackwell ? 1965000 : 1980000; break;
    case cudaDevAttrMultiProcessorCount: *value = options::multiprocessors(); break;
    case cudaDevAttrIntegrated: *value = 0; break;
    case cudaDevAttrCanMapHostMemory: *value = 1; break;
    case cudaDevAttrConcurrentKernels: *value = 1; break;
    case cudaDevAttrPciBusId: *value = kFirstBus + device; break;
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
    default: return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

std::string pciBusId(int device) {
  char text[24];
  const auto bus = static_cast<unsigned>(kFirstBus + device);
  std::snprintf(text, sizeof text, "%04X:%02X:00.0", static_cast<unsigned>(kPciDomain), bus);
  return text;
}

cudaError_t deviceOfBusId(int* device, const char* text) {
  unsigned domain = 0;
  unsigned bus = 0;
  unsigned slot = 0;
  unsigned functionNumber = 0;
  // Accepted as domain:bus:device.function, domain:bus:device, and bus:device.function.
  if (std::sscanf(text, "%x:%x:%x.%x", &domain, &bus, &slot, &functionNumber) < 3) {
    domain = kPciDomain;
    if (std::sscanf(text, "%x:%x.%x", &bus, &slot, &functionNumber) < 2) return cudaErrorInvalidValue;
  }
  const int index = static_cast<int>(bus) - kFirstBus;
  if (domain != kPciDomain || slot != 0 || !valid(index)) return cudaErrorInvalidDevice;
  *device = index;
  return cudaSuccess;
}

cudaError_t reset(int device) {
  capture::abandon(device);
  streams::destroyAll(device);
  graphs::destroyAllExecs(device);
  graphs::destroyAll(device);
  events::destroyAll(device);
  memory::forgetDevice(device);
  device::forgetPeers(device);
  device::clearSticky(device);
  return cudaSuccess;
}

}  // namespace

EMU_API cudaError_t cudaGetDeviceCount(int* count) {
  static Function function("cudaGetDeviceCount");
  return entry(
      function, Needs::Nothing, [&](Arguments& a) { a.pointer("count", count); },
      [&] {
        if (!given(count)) return cudaErrorInvalidValue;
        *count = device::count();
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaGetDevice(int* device) {
  static Function function("cudaGetDevice");
  return entry(
      function, Needs::NoHostFunction, [&](Arguments& a) { a.pointer("device", device); },
      [&] {
        if (!given(device)) return cudaErrorInvalidValue;
        *device = device::current();
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaSetDevice(int device) {
  static Function function("cudaSetDevice");
  return entry(
      function, Needs::NoHostFunction, [&](Arguments& a) { a.number("device", device); }, [&] { return device::setCurrent(device); });
}

EMU_API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attr, int device) {
  static Function function("cudaDeviceGetAttribute");
  return entry(
      function, Needs::NoHostFunction,
      [&](Arguments& a) {
        a.number("attr", attr);
        a.number("device", device);
      },
      [&] {
        if (!given(value)) return cudaErrorInvalidValue;
        return valid(device) ? attribute(value, attr, device) : cudaErrorInvalidDevice;
      });
}

EMU_API cudaError_t cudaDeviceGetPCIBusId(char* pciBusIdOut, int len, int device) {
  static Function function("cudaDeviceGetPCIBusId");
  return entry(
      function, Needs::NoHostFunction,
      [&](Arguments& a) {
        a.number("len", len);
        a.number("device", device);
      },
      [&] {
        if (pciBusIdOut == nullptr || len < 0 || !room(pciBusIdOut, static_cast<size_t>(len))) return cudaErrorInvalidValue;
        if (!valid(device)) return cudaErrorInvalidDevice;
        const std::string text = pciBusId(device);
        if (static_cast<size_t>(len) < text.size() + 1) return cudaErrorInvalidValue;
        std::memcpy(pciBusIdOut, text.c_str(), text.size() + 1);
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* pciBusIdText) {
  static Function function("cudaDeviceGetByPCIBusId");
  return entry(
      function, Needs::NoHostFunction, [&](Arguments& a) { a.text("pciBusId", pciBusIdText); },
      [&] {
        if (!given(device) || !given(pciBusIdText, 1)) return cudaErrorInvalidValue;
        return deviceOfBusId(device, pciBusIdText);
      });
}

EMU_API cudaError_t cudaDeviceGetStreamPriorityRange(int* leastPriority, int* greatestPriority) {
  static Function function("cudaDeviceGetStreamPriorityRange");
  return entry(
      function, Needs::Device, [](Arguments&) {},
      [&] {
        if (leastPriority != nullptr) *leastPriority = streams::kLeastPriority;
        if (greatestPriority != nullptr) *greatestPriority = streams::kGreatestPriority;
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaDeviceCanAccessPeer(int* canAccessPeer, int device, int peerDevice) {
  static Function function("cudaDeviceCanAccessPeer");
  return entry(
      function, Needs::NoHostFunction,
      [&](Arguments& a) {
        a.number("device", device);
        a.number("peerDevice", peerDevice);
      },
      [&] {
        if (!given(canAccessPeer)) return cudaErrorInvalidValue;
        if (!valid(device) || !valid(peerDevice)) return cudaErrorInvalidDevice;
        *canAccessPeer = device != peerDevice ? 1 : 0;
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaDeviceEnablePeerAccess(int peerDevice, unsigned int flags) {
  static Function function("cudaDeviceEnablePeerAccess");
  return entry(
      function, Needs::Device,
      [&](Arguments& a) {
        a.number("peerDevice", peerDevice);
        a.number("flags", flags);
      },
      [&] {
        if (flags != 0) return cudaErrorInvalidValue;
        if (!valid(peerDevice)) return cudaErrorInvalidDevice;
        if (peerDevice == device::current()) return cudaErrorPeerAccessUnsupported;
        return device::enablePeer(device::current(), peerDevice) ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled;
      });
}

EMU_API cudaError_t cudaDeviceSynchronize() {
  static Function function("cudaDeviceSynchronize");
  return entry(
      function, Needs::Device, [](Arguments&) {},
      [&] {
        const cudaError_t allowed = capture::forbidDeviceWait(device::current());
        return allowed != cudaSuccess ? allowed : drainDevice(device::current());
      });
}

EMU_API cudaError_t cudaDeviceReset() {
  static Function function("cudaDeviceReset");
  return entry(function, Needs::OwnDevices, [](Arguments&) {}, [&] { return reset(device::current()); });
}

EMU_API cudaError_t cudaDriverGetVersion(int* driverVersion) {
  static Function function("cudaDriverGetVersion");
  return entry(
      function, Needs::Nothing, [](Arguments&) {},
      [&] {
        if (!given(driverVersion)) return cudaErrorInvalidValue;
        *driverVersion = kVersion;
        return cudaSuccess;
      });
}

EMU_API cudaError_t cudaRuntimeGetVersion(int* runtimeVersion) {
  static Function function("cudaRuntimeGetVersion");
  return entry(
      function, Needs::Nothing, [](Arguments&) {},
      [&] {
        if (!given(runtimeVersion)) return cudaErrorInvalidValue;
        *runtimeVersion = kVersion;
        return cudaSuccess;
      });
}

// Profilers do not attach to the emulator; the calls are only seen in the log.
EMU_API cudaError_t cudaProfilerStart() {
  static Function function("cudaProfilerStart");
  return entry(function, Needs::NoCapture, [](Arguments&) {}, [] { return cudaSuccess; });
}

EMU_API cudaError_t cudaProfilerStop() {
  static Function function("cudaProfilerStop");
  return entry(function, Needs::NoCapture, [](Arguments&) {}, [] { return cudaSuccess; });
}

}  // namespace emu
