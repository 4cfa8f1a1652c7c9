// Element types of NCCL.
#pragma once

#include <cstddef>

#include "abi/nccl.h"

namespace emu::nccl {

inline bool validType(ncclDataType_t type) { return static_cast<unsigned int>(type) < ncclNumTypes; }

// Bytes of a valid type.
inline size_t sizeOf(ncclDataType_t type) {
  constexpr unsigned char kSizes[ncclNumTypes] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return kSizes[type];
}

}  // namespace emu::nccl
