// Record of executed work, for the control interface.
#pragma once

#include "base/never_destroyed.h"
#include "base/ring_log.h"
#include "nccl4j_emulator.h"

namespace emu {

inline RingLog<nccl4jEmuWork_t>& workLog() { return neverDestroyed<RingLog<nccl4jEmuWork_t>>(); }

}  // namespace emu
