// The types of NCCL: of elements, and how the call log shows them.
#pragma once

#include <cstddef>

#include "abi/nccl.h"
#include "base/calls.h"

namespace emu {

void describe(Arguments& arguments, const char* name, const ncclUniqueId& id);
void describe(Arguments& arguments, const char* name, const ncclConfig_t* config);  // decoded; defined fields only
void describe(Arguments& arguments, const char* name, ncclDataType_t type);
void describe(Arguments& arguments, const char* name, ncclRedOp_t reduction);

namespace nccl {

inline bool validType(ncclDataType_t type) { return static_cast<unsigned int>(type) < ncclNumTypes; }

// Bytes of a valid type.
inline size_t sizeOf(ncclDataType_t type) {
  constexpr unsigned char kSizes[ncclNumTypes] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return kSizes[type];
}


// NULL if the value is none.
const char* typeName(ncclDataType_t type);
const char* reductionName(ncclRedOp_t reduction);

}  // namespace nccl
}  // namespace emu
