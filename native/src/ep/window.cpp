#include "ep/window.h"

#include "nccl/communicator.h"

namespace emu::ep {

ncclResult_t resolveWindow(Call& call, const char* name, ncclComm_t comm, Tensor* tensor) {
  if (!tensor->present || tensor->data != nullptr || tensor->window == nullptr || tensor->empty) return ncclSuccess;
  const ncclWindow_vidmem* const found = window(comm, tensor->window);
  if (found == nullptr) return call.invalidArgument("%s: its window is not one of the group's communicator", name);
  if (found->base == nullptr) return call.invalidUsage("%s: its window has no memory", name);
  tensor->data = found->base + tensor->offset;
  return ncclSuccess;
}

ncclResult_t checkWindow(Call& call, const char* name, ncclComm_t comm, const Tensor& tensor) {
  if (!windowed(tensor) || window(comm, tensor.window) != nullptr) return ncclSuccess;
  return call.undefined("%s: its window is not one of the group's communicator", name);
}

uint64_t windowPlace(ncclComm_t comm, const Tensor& tensor) {
  const ncclWindow_vidmem* const found = windowed(tensor) ? window(comm, tensor.window) : nullptr;
  if (found == nullptr) return 0;
  return ((found->ordinal + 1) << 40) ^ tensor.offset;
}

}  // namespace emu::ep
