// Reduction operators made by the program.
#include <cstring>

#include "nccl/arguments.h"
#include "nccl/entry.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

void createPreMulSum(ncclRedOp_t* op, void* scalar, ncclDataType_t type, ncclScalarResidence_t residence,
                             ncclComm_t comm) {
  const Comm state = usable(comm);
  if (!given(op) || scalar == nullptr) fail(ncclInvalidArgument, "op or scalar is NULL");
  if (!validType(type)) fail(ncclInvalidArgument, "data type %d does not exist", static_cast<int>(type));
  if (residence != ncclScalarDevice && residence != ncclScalarHostImmediate) {
    fail(ncclInvalidArgument, "scalar residence %d does not exist", static_cast<int>(residence));
  }
  auto made = std::make_shared<PreMulSum>();
  made->type = type;
  made->onDevice = residence == ncclScalarDevice;
  if (made->onDevice) {
    made->device = scalar;
  } else {
    if (!readable(scalar, sizeOf(type))) fail(ncclInvalidArgument, "scalar cannot be read");
    memcpy(made->immediate, scalar, sizeOf(type));
  }
  const std::lock_guard<std::mutex> lock(state->mutex);
  const unsigned int handle = state->nextOperator++;
  state->operators.emplace(handle, std::move(made));
  *op = static_cast<ncclRedOp_t>(handle);
}

void destroyOperator(ncclRedOp_t op, ncclComm_t comm) {
  const Comm state = ready(comm);
  if (static_cast<unsigned int>(op) < ncclNumOps) {
    fail(ncclInvalidArgument, "reduction operator %d is built in", static_cast<int>(op));
  }
  const std::lock_guard<std::mutex> lock(state->mutex);
  if (state->operators.erase(static_cast<unsigned int>(op)) == 0) {
    fail(ncclInvalidArgument, "reduction operator %d does not exist in this communicator", static_cast<int>(op));
  }
}

}  // namespace

EMU_NCCL(ncclRedOpCreatePreMulSum,
         (ncclRedOp_t* op, void* scalar, ncclDataType_t datatype, ncclScalarResidence_t residence, ncclComm_t comm),
         (op, scalar, datatype, residence, comm), createPreMulSum(op, scalar, datatype, residence, comm))

EMU_NCCL(ncclRedOpDestroy, (ncclRedOp_t op, ncclComm_t comm), (op, comm), destroyOperator(op, comm))

}  // namespace emu::nccl
