// The interface of version 14 between NCCL 2.30 and an RMA plugin, as far as its layout: declarations of our own. NCCL
// finds the table under the name ncclRmaPlugin_v14.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rma_local::abi {

enum class Result : int {
  Success = 0,
  CudaError = 1,
  SystemError = 2,
  InternalError = 3,
  InvalidArgument = 4,
  InvalidUsage = 5
};

// An address that ranks exchange has this size, whatever it holds.
constexpr std::size_t addressBytes = 128;

// Kinds of memory, which are also bits of DeviceProperties::memoryKinds.
constexpr int hostMemory = 1;
constexpr int deviceMemory = 2;

constexpr std::uint32_t signalIncrement = 1;
constexpr std::uint32_t signalAdd = 2;

// The type of a device whose operations NCCL's own thread takes from the GPU and passes to the plugin.
constexpr int proxyDevice = 2;

struct DeviceProperties {
  const char* name;
  const char* pciPath;
  std::uint64_t guid;
  int memoryKinds;
  int globalRegistrations;
  int forcedFlush;
  int megabitsPerSecond;
  int port;
  float microseconds;
  int mostCommunicators;
  int mostReceives;
  int deviceType;
  int deviceVersion;
  int physicalCount;
  int physical[8];
  std::size_t mostBytes;
  std::size_t mostCollectiveBytes;
  int mostInOneRequest;
  std::int16_t rail;
  std::int16_t plane;
};
static_assert(sizeof(DeviceProperties) == 128 && offsetof(DeviceProperties, physicalCount) == 64 &&
              offsetof(DeviceProperties, mostBytes) == 104 && offsetof(DeviceProperties, rail) == 124);

struct ContextConfig {
  int contexts;
  int trafficClass;
  int rankStride;
};

struct Plugin {
  const char* name;
  Result (*init)(void** instance, std::uint64_t communicator, void* logger);
  Result (*devices)(int* count);
  Result (*getProperties)(int device, DeviceProperties* properties);
  Result (*listen)(void* instance, int device, void* address, void** listener);
  Result (*connect)(void* instance, void** addresses, int ranks, int rank, void* listener, void** collective);
  Result (*createContext)(void* collective, const ContextConfig* config, void** context);
  Result (*registerMemory)(void* collective, void* data, std::size_t size, int kind, std::uint64_t flags,
                           void** registration);
  Result (*registerDmaBuf)(void* collective, void* data, std::size_t size, int kind, std::uint64_t offset, int file,
                           std::uint64_t flags, void** registration);
  Result (*deregister)(void* collective, void* registration);
  Result (*destroyContext)(void* context);
  Result (*closeCollective)(void* collective);
  Result (*closeListener)(void* listener);
  Result (*put)(void* context, int number, std::uint64_t fromOffset, void* from, std::size_t size,
                std::uint64_t toOffset, void* to, std::uint32_t rank, void** request);
  Result (*putSignal)(void* context, int number, std::uint64_t fromOffset, void* from, std::size_t size,
                      std::uint64_t toOffset, void* to, std::uint32_t rank, std::uint64_t signalOffset, void* signal,
                      std::uint64_t value, std::uint32_t operation, bool strong, void** request);
  Result (*get)(void* context, int number, std::uint64_t fromOffset, void* from, std::size_t size,
                std::uint64_t toOffset, void* to, std::uint32_t rank, void** request);
  Result (*flush)(void* context, int number, void* registration, std::uint32_t rank, void** request);
  Result (*test)(void* collective, void* request, int* done);
  Result (*progress)(void* context);
  Result (*lastError)(void* context, bool* failed);
  Result (*finalize)(void* instance);
};
static_assert(sizeof(Plugin) == 21 * sizeof(void*));

}  // namespace rma_local::abi
