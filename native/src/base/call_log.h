// The call log and the presets as the control interface sees them; calls.h is the side of the functions that are
// called.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nccl4j_emulator.h"

namespace emu::calls {

void setLogCapacity(size_t capacity);
size_t copyLog(uint64_t from, nccl4jEmuCall_t* out, size_t capacity);
uint64_t count(const char* function);

// false: no such function is exported. `times` is at least 1.
bool preset(const char* function, int result, uint64_t skip, uint64_t times);
void clearPresets();

}  // namespace emu::calls
