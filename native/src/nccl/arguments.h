// How the call log shows the types of NCCL.
#pragma once

#include "base/calls.h"
#include "abi/nccl.h"

namespace emu {

void describe(Arguments& arguments, const char* name, const ncclUniqueId& id);
void describe(Arguments& arguments, const char* name, const ncclConfig_t* config);  // decoded; defined fields only
void describe(Arguments& arguments, const char* name, ncclDataType_t type);
void describe(Arguments& arguments, const char* name, ncclRedOp_t reduction);

namespace nccl {

// NULL if the value is none.
const char* typeName(ncclDataType_t type);
const char* reductionName(ncclRedOp_t reduction);

}  // namespace nccl
}  // namespace emu
