// Error texts of the NCCL room.
#pragma once

#include <string>

#include "abi/nccl.h"

namespace emu::nccl {

// Keeps the text for ncclGetLastError of this thread and returns the code, for `return fail(...)`.
__attribute__((format(printf, 2, 3))) ncclResult_t fail(ncclResult_t code, const char* format, ...);
ncclResult_t failWith(ncclResult_t code, const std::string& text);

const std::string& lastError();  // of this thread

const char* resultText(ncclResult_t result);

}  // namespace emu::nccl
