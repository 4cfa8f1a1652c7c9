// The library's own environment variables.
#pragma once

#include <cstdint>

namespace emu::ep::environment {

// 1/on/true and 0/off/false in any case; anything else counts as unset, with a message.
bool flag(const char* name);
// As strtoul reads it, digits or not; false if the variable is unset.
bool number(const char* name, uint64_t* value);

// Resolved waiting time of LL operations from the group's timeout_ns and NCCL_EP_TIMEOUT_MS.
uint64_t timeoutNs(uint64_t configured);

// A multiprocessor count: the variable's value where it lies in [1, most], otherwise `fallback`.
unsigned multiprocessors(const char* name, unsigned fallback, unsigned most);

}  // namespace emu::ep::environment
