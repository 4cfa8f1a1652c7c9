// Options of the emulator: from the environment (NCCL4J_EMU_...) or by control call.
#pragma once

#include <cstdint>
#include <string>

namespace emu::options {

constexpr int kMostDevices = 64;

bool reportMisuse();
bool poison();
uint64_t shuffleSeed();  // 0 = off
int epVersion();         // what ncclEpGetVersion answers: 100 = API v2, 200 = release 0.2.0
int computeCapability(); // 90 or 100
int devices();           // that this process sees (CUDA_VISIBLE_DEVICES); from the first call on that stays
int devicesSoFar();      // without fixing it
int hostOf(int machineDevice);  // option host_devices
int machineDevice(int device);  // the number of a device that this process sees, among all of the machine
uint64_t deviceMemory();
int multiprocessors();
bool sharedDevices();
uint64_t waitLimitMs();  // 0 = none
int builtNccl();         // version of the NCCL that NCCL EP was built with, as if

// getenv with what nccl4jEmuSetEnvironment laid over it; empty and unset differ.
bool environment(const char* name, std::string* value);

// 0, or a NCCL4J_EMU_* code.
int set(const char* name, const char* value);
int get(const char* name, std::string* value);
int setEnvironment(const char* name, const char* value);

}  // namespace emu::options
