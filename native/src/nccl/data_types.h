// Element types of NCCL.
#pragma once

#include <cstddef>

#include "abi/nccl.h"

namespace emu::nccl {

inline bool validType(ncclDataType_t type) { return static_cast<unsigned int>(type) < ncclNumTypes; }

// Of a valid type.
constexpr size_t sizeOf(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
    case ncclFloat8e4m3:
    case ncclFloat8e5m2: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    default: return 8;
  }
}

}  // namespace emu::nccl
