#include "ep/ll/submit.h"

#include "cuda/device.h"

namespace emu::ep {

LlTicket makeTicket(Call& call, Handle& handle, Operation operation, bool staged) {
  LlTicket ticket;
  ticket.function = call.function();
  ticket.operation = operation;
  ticket.generation = handle.group->ll.generation;
  ticket.staged = staged;
  return ticket;
}

ncclResult_t launched(Call& call, cudaError_t error) {
  if (error == cudaSuccess) return ncclSuccess;
  return call.internalError("the launch failed with CUDA error %d", static_cast<int>(error));
}

}  // namespace emu::ep
