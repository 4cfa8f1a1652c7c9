// Passing on a failure.
#pragma once

// Returns from the function with what the call answers, unless that is success, which is 0 in CUDA and NCCL.
#define EMU_TRY(call)                                         \
  do {                                                        \
    const auto emuResult = (call);                            \
    if (static_cast<int>(emuResult) != 0) return emuResult;   \
  } while (false)
