// Tensors in registered windows.
#pragma once

#include "ep/tensor.h"

namespace emu::ep {

// Gives a tensor that has a window and no data its address. What ncclWinGetUserPtr answers is passed on.
void resolveWindow(Call& call, const char* name, ncclComm_t comm, Tensor* tensor);

// Peers reach the tensor through its window. A window that is not live is undefined behaviour.
void checkWindow(Call& call, const char* name, ncclComm_t comm, const Tensor& tensor);
inline bool windowed(const Tensor& tensor) { return tensor.present && tensor.window != nullptr; }

// How a windowed tensor is known to all ranks; they must agree, since a peer is addressed with the sender's own window.
// 0 = none.
uint64_t windowPlace(ncclComm_t comm, const Tensor& tensor);

}  // namespace emu::ep
