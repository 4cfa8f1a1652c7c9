#include "ep/window.h"

#include "nccl/communicator.h"

namespace emu::ep {

void resolveWindow(Call& call, const char* name, ncclComm_t comm, Tensor* tensor) {
  if (!tensor->present || tensor->data != nullptr || tensor->window == nullptr || tensor->empty) return;
  const ncclWindow_vidmem* const found = window(comm, tensor->window);
  if (found == nullptr) call.invalidArgument("%s: its window is not one of the group's communicator", name);
  if (found->base == nullptr) call.invalidUsage("%s: its window has no memory", name);
  tensor->data = found->base + tensor->offset;
}

void checkWindow(Call& call, const char* name, ncclComm_t comm, const Tensor& tensor) {
  if (!windowed(tensor) || window(comm, tensor.window) != nullptr) return;
  call.undefined("%s: its window is not one of the group's communicator", name);
}

uint64_t windowPlace(ncclComm_t comm, const Tensor& tensor) {
  const ncclWindow_vidmem* const found = windowed(tensor) ? window(comm, tensor.window) : nullptr;
  if (found == nullptr) return 0;
  return ((found->ordinal + 1) << 40) ^ tensor.offset;
}

}  // namespace emu::ep
