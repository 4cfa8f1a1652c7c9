// Options of the emulator: from the environment (NCCL4J_EMU_...) or by control call.
#pragma once

#include <cstdint>
#include <string>

namespace emu::options {

bool reportMisuse();
bool poison();
uint64_t shuffleSeed();  // 0 = off
int epApi();             // 2
int computeCapability(); // 90 or 100
int devices();           // and fixes it
int devicesSoFar();      // without fixing it
uint64_t deviceMemory();
int multiprocessors();
bool sharedDevices();
uint64_t waitLimitMs();  // 0 = none

// getenv with what nccl4jEmuSetEnvironment laid over it; empty and unset differ.
bool environment(const char* name, std::string* value);

// 0, or a NCCL4J_EMU_* code.
int set(const char* name, const char* value);
int get(const char* name, std::string* value);
int setEnvironment(const char* name, const char* value);

}  // namespace emu::options
