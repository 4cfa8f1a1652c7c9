// Tensor descriptors: those that callers declare, those of ncclEpTensorAlloc, and tensors in registered windows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ep/call.h"

namespace emu::ep {

constexpr unsigned kTensorMagicDynamic = 0xBEEFBEEF;

size_t elementBytes(ncclDataType_t type);  // 0 for a type that NCCL EP does not know
const char* typeName(ncclDataType_t type);

// Arithmetic with sizes that come from callers: sticks at SIZE_MAX instead of wrapping.
size_t product(size_t a, size_t b);
size_t sum(size_t a, size_t b);
size_t aligned(size_t value, size_t to);  // the next multiple

// A descriptor as it was when a call decoded it.
struct Tensor {
  static constexpr unsigned kDimensions = 4;  // as many extents as any function looks at, and one more

  bool present = false;
  unsigned ndim = 0;
  ncclDataType_t type = ncclInt8;
  unsigned char* data = nullptr;
  ncclWindow_t window = nullptr;
  uint64_t offset = 0;
  size_t sizes[kDimensions] = {};
  bool empty = false;  // some extent is 0
  const ncclEpTensor_t* descriptor = nullptr;

  size_t rowBytes() const { return product(sizes[1], elementBytes(type)); }  // of a 2-D tensor
  template <class Element>
  Element* as() const {
    return reinterpret_cast<Element*>(data);
  }
  bool is(size_t a) const { return ndim == 1 && sizes[0] == a; }
  bool is(size_t a, size_t b) const { return ndim == 2 && sizes[0] == a && sizes[1] == b; }
  bool is(size_t a, size_t b, size_t c) const { return ndim == 3 && sizes[0] == a && sizes[1] == b && sizes[2] == c; }
};

// Decodes a descriptor that must be there, or may be NULL. A malformed one (uninitialised, or without storage) aborts.
Tensor decodeRequired(Call& call, const char* name, const ncclEpTensor_t* descriptor);
Tensor decodeOptional(Call& call, const char* name, const ncclEpTensor_t* descriptor);

// What the descriptor's `data` says now, for the second half of an operation.
void* currentData(Call& call, const char* name, const ncclEpTensor_t* descriptor);

// "bf16[128,7168]@0x7f.." for the call log.
void describe(Arguments& arguments, const char* name, const ncclEpTensor_t* descriptor);

// Gives a tensor that has a window and no data its address. What ncclWinGetUserPtr answers is passed on.
void resolveWindow(Call& call, const char* name, ncclComm_t comm, Tensor* tensor);

// Peers reach the tensor through its window. A window that is not live is undefined behaviour.
void checkWindow(Call& call, const char* name, ncclComm_t comm, const Tensor& tensor);
inline bool windowed(const Tensor& tensor) { return tensor.present && tensor.window != nullptr; }

// How a windowed tensor is known to all ranks; they must agree, since a peer is addressed with the sender's own window.
// 0 = none.
uint64_t windowPlace(ncclComm_t comm, const Tensor& tensor);

}  // namespace emu::ep
