#include <cctype>
#include <set>
#include <string>

#include "cuda_support.h"

namespace emu::test {
namespace {

class Devices : public CudaTest {};

TEST_F(Devices, AreCountedAndCurrentPerThread) {
  int count = 0;
  ASSERT_CUDA(cudaGetDeviceCount(&count));
  EXPECT_EQ(std::to_string(count), option("devices"));
  EXPECT_GE(count, 8) << "these tests need some devices";
  ASSERT_CUDA(cudaSetDevice(5));
  int device = -1;
  std::thread([&] { EXPECT_CUDA(cudaGetDevice(&device)); }).join();
  EXPECT_EQ(0, device);
  ASSERT_CUDA(cudaGetDevice(&device));
  EXPECT_EQ(5, device);
  EXPECT_EQ(cudaErrorInvalidDevice, cudaSetDevice(count));
  EXPECT_EQ(cudaErrorInvalidDevice, cudaSetDevice(-1));
  ASSERT_CUDA(cudaGetDevice(&device));
  EXPECT_EQ(5, device);
  EXPECT_EQ(cudaErrorInvalidValue, cudaGetDevice(nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaGetDeviceCount(nullptr));
}

TEST_F(Devices, HaveTheAttributesOfTheOption) {
  const auto get = [](cudaDeviceAttr attr) {
    int value = -1;
    EXPECT_CUDA(cudaDeviceGetAttribute(&value, attr, 7));
    return value;
  };
  const ScopedOption before[] = {{"compute_capability", "90"}, {"sms", "132"}};
  EXPECT_EQ(9, get(cudaDevAttrComputeCapabilityMajor));
  EXPECT_EQ(0, get(cudaDevAttrComputeCapabilityMinor));
  EXPECT_EQ(132, get(cudaDevAttrMultiProcessorCount));
  EXPECT_EQ(232448, get(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  EXPECT_EQ(1, get(cudaDevAttrUnifiedAddressing));
  EXPECT_EQ(1, get(cudaDevAttrMemoryPoolsSupported));
  EXPECT_EQ(32, get(cudaDevAttrWarpSize));
  const ScopedOption other[] = {{"compute_capability", "100"}, {"sms", "148"}};
  EXPECT_EQ(10, get(cudaDevAttrComputeCapabilityMajor));
  EXPECT_EQ(148, get(cudaDevAttrMultiProcessorCount));
  int value = 0;
  EXPECT_EQ(cudaErrorInvalidValue, cudaDeviceGetAttribute(&value, static_cast<cudaDeviceAttr>(9999), 0));
  EXPECT_EQ(cudaErrorInvalidDevice, cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 64));
}

TEST_F(Devices, HaveUniqueBusIds) {
  std::set<std::string> seen;
  int count = 0;
  ASSERT_CUDA(cudaGetDeviceCount(&count));
  for (int device = 0; device < count; ++device) {
    char text[13];
    ASSERT_CUDA(cudaDeviceGetPCIBusId(text, sizeof text, device));
    EXPECT_TRUE(seen.insert(text).second);
    int found = -1;
    EXPECT_CUDA(cudaDeviceGetByPCIBusId(&found, text));
    EXPECT_EQ(device, found);
    std::string lower = text;
    for (char& letter : lower) letter = static_cast<char>(std::tolower(letter));
    EXPECT_CUDA(cudaDeviceGetByPCIBusId(&found, lower.substr(5).c_str()));  // without the domain
    EXPECT_EQ(device, found);
    int bus = 0;
    EXPECT_CUDA(cudaDeviceGetAttribute(&bus, cudaDevAttrPciBusId, device));
    EXPECT_EQ(bus, std::stoi(lower.substr(5, 2), nullptr, 16));
  }
  char small[12];
  EXPECT_EQ(cudaErrorInvalidValue, cudaDeviceGetPCIBusId(small, sizeof small, 0));
  int found = 0;
  EXPECT_EQ(cudaErrorInvalidValue, cudaDeviceGetByPCIBusId(&found, "bus"));
  EXPECT_EQ(cudaErrorInvalidDevice, cudaDeviceGetByPCIBusId(&found, "0000:01:00.0"));
}

TEST_F(Devices, ArePeers) {
  int can = -1;
  ASSERT_CUDA(cudaDeviceCanAccessPeer(&can, 0, 7));
  EXPECT_EQ(1, can);
  ASSERT_CUDA(cudaDeviceCanAccessPeer(&can, 2, 2));
  EXPECT_EQ(0, can);
  EXPECT_EQ(cudaErrorInvalidDevice, cudaDeviceCanAccessPeer(&can, 0, 64));
  EXPECT_CUDA(cudaDeviceEnablePeerAccess(1, 0));
  EXPECT_EQ(cudaErrorPeerAccessAlreadyEnabled, cudaDeviceEnablePeerAccess(1, 0));
  EXPECT_EQ(cudaErrorPeerAccessUnsupported, cudaDeviceEnablePeerAccess(0, 0));
  EXPECT_EQ(cudaErrorInvalidDevice, cudaDeviceEnablePeerAccess(64, 0));
  EXPECT_EQ(cudaErrorInvalidValue, cudaDeviceEnablePeerAccess(2, 1));
  ASSERT_CUDA(cudaDeviceReset());
  EXPECT_CUDA(cudaDeviceEnablePeerAccess(1, 0));
}

TEST_F(Devices, TellTheirVersions) {
  int version = 0;
  EXPECT_CUDA(cudaRuntimeGetVersion(&version));
  EXPECT_EQ(13000, version);
  EXPECT_CUDA(cudaDriverGetVersion(&version));
  EXPECT_EQ(13000, version);
}

}  // namespace
}  // namespace emu::test
