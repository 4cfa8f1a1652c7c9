#include "nccl/arguments.h"

#include <cstdio>


namespace emu {

namespace {

constexpr const char* kTypes[ncclNumTypes] = {"int8",  "uint8",   "int32",   "uint32",   "int64",      "uint64",
                                              "float16", "float32", "float64", "bfloat16", "float8e4m3", "float8e5m2"};
constexpr const char* kReductions[ncclNumOps] = {"sum", "prod", "max", "min", "avg"};

}  // namespace

void describe(Arguments& arguments, const char* name, const ncclUniqueId& id) {
  // Enough to see which calls share an id.
  char digits[2 * 8 + 1];
  for (int i = 0; i < 8; ++i) snprintf(digits + 2 * i, 3, "%02x", static_cast<unsigned char>(id.internal[8 + i]));
  arguments.text(name, digits);
}

const char* nccl::typeName(ncclDataType_t type) {
  return validType(type) ? kTypes[type] : nullptr;
}

const char* nccl::reductionName(ncclRedOp_t reduction) {
  return static_cast<unsigned int>(reduction) < ncclNumOps ? kReductions[reduction] : nullptr;
}

void describe(Arguments& arguments, const char* name, ncclDataType_t type) {
  const char* const known = nccl::typeName(type);
  known != nullptr ? arguments.text(name, known) : arguments.number(name, static_cast<int64_t>(type));
}

void describe(Arguments& arguments, const char* name, ncclRedOp_t reduction) {
  const char* const known = nccl::reductionName(reduction);
  known != nullptr ? arguments.text(name, known) : arguments.number(name, static_cast<int64_t>(reduction));
}

}  // namespace emu
