// Record of executed work, for the control interface.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nccl4j_emulator.h"

namespace emu::work_log {

void setCapacity(size_t capacity);  // 0 = off
bool on();
void add(const nccl4jEmuWork_t& work);
void copyName(const char* name, nccl4jEmuWork_t* work);
size_t copy(uint64_t from, nccl4jEmuWork_t* out, size_t capacity);

}  // namespace emu::work_log
