// Misuse that ends the process in the real library.
#pragma once

#include "base/ring_log.h"
#include "nccl4j_emulator.h"

namespace emu {

enum class End { Abort, Throw, Exit, Trap, Undefined };

// Default mode: prints one line and ends the process as the real library would (Trap never: it is a device error, which
// the caller raises itself). Report mode: records it and returns; the caller then answers with ncclInternalError.
__attribute__((format(printf, 4, 5))) void misuse(End end, int rank, const char* function, const char* format, ...);

// The newest ones.
RingLog<nccl4jEmuMisuse_t>& misuseLog();

}  // namespace emu
