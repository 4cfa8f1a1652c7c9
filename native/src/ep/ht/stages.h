// The rows that HT kernels keep in shared memory.
#pragma once

#include <initializer_list>

#include "ep/handle.h"

namespace emu::ep {

// Refused if the rows of all stages cannot fit: by default one for each of `variables`, which pin other numbers.
void checkStages(Call& call, const Group& group, std::initializer_list<const char*> variables, size_t bytesPerStage);

// Where LocalDup copies or adds up rows, its kernel needs so many bytes more.
void checkLocalDup(Call& call, const Handle& handle, size_t bytes);

}  // namespace emu::ep
