// Collectives, point to point, groups.

#include "nccl/arguments.h"
#include "nccl/entry.h"
#include "nccl/operation.h"
#include "nccl/state.h"

namespace emu::nccl {

namespace {

void chooseReduction(CommState& comm, ncclRedOp_t reduction, Operation* operation) {
  if (static_cast<unsigned int>(reduction) < ncclNumOps) {
    operation->reducer = static_cast<Reducer>(reduction);
    return;
  }
  const std::lock_guard<std::mutex> lock(comm.mutex);
  const auto found = comm.operators.find(static_cast<unsigned int>(reduction));
  if (found == comm.operators.end()) {
    fail(ncclInvalidArgument, "reduction operator %d does not exist in this communicator", static_cast<int>(reduction));
  }
  if (found->second->type != operation->type) {
    fail(ncclInvalidArgument, "the reduction operator is for data type %d, the call has %d",
         static_cast<int>(found->second->type), static_cast<int>(operation->type));
  }
  operation->reducer = Reducer::PreMulSum;
  operation->factor = found->second;
}

ncclResult_t run(ncclComm_t comm, cudaStream_t stream, Operation operation, const ncclRedOp_t* reduction = nullptr) {
  const Comm state = usable(comm);
  if (operation.root < 0 || operation.root >= state->size()) {
    fail(ncclInvalidArgument, "%s: rank %d does not exist, the communicator has %d", operation.function,
         operation.root, state->size());
  }
  if (!validType(operation.type)) {
    fail(ncclInvalidArgument, "%s: data type %d does not exist", operation.function, static_cast<int>(operation.type));
  }
  if (operation.count > SIZE_MAX / sizeOf(operation.type) / static_cast<size_t>(state->size())) {
    fail(ncclInvalidArgument, "%s: a count of %zu is more than memory holds", operation.function, operation.count);
  }
  if (reduction != nullptr) chooseReduction(*state, *reduction, &operation);
  // An empty collective is none; an empty message still has two ends.
  if (operation.count == 0 && !operation.pointToPoint()) return ncclSuccess;
  return group::add(state, stream, operation);
}

}  // namespace

EMU_NCCL_GROUPED(ncclAllGather,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclComm_t comm,
                  cudaStream_t stream), (sendbuff, recvbuff, count, datatype, comm, stream),
                 run(comm, stream, {Kind::AllGather, call.name, sendbuff, recvbuff, count, datatype}))

EMU_NCCL_GROUPED(ncclAllReduce,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op,
                  ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, comm, stream),
                 run(comm, stream, {Kind::AllReduce, call.name, sendbuff, recvbuff, count, datatype}, &op))

EMU_NCCL_GROUPED(ncclAlltoAll,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclComm_t comm,
                  cudaStream_t stream), (sendbuff, recvbuff, count, datatype, comm, stream),
                 run(comm, stream, {Kind::AlltoAll, call.name, sendbuff, recvbuff, count, datatype}))

EMU_API ncclResult_t ncclBcast(void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm,
                               cudaStream_t stream) {
  const void* const sendbuff = recvbuff;
  return EMU_CALL(groupedEntry, (sendbuff, recvbuff, count, datatype, root, comm, stream),
                  run(comm, stream, {Kind::Broadcast, call.name, sendbuff, recvbuff, count, datatype, root}));
}

EMU_NCCL_GROUPED(ncclBroadcast,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
                  ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream),
                 run(comm, stream, {Kind::Broadcast, call.name, sendbuff, recvbuff, count, datatype, root}))

EMU_NCCL_GROUPED(ncclGather,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
                  ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream),
                 run(comm, stream, {Kind::Gather, call.name, sendbuff, recvbuff, count, datatype, root}))

EMU_NCCL_GROUPED(ncclReduce,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, int root,
                  ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, root, comm, stream),
                 run(comm, stream, {Kind::Reduce, call.name, sendbuff, recvbuff, count, datatype, root}, &op))

EMU_NCCL_GROUPED(ncclReduceScatter,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op,
                  ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, comm, stream),
                 run(comm, stream, {Kind::ReduceScatter, call.name, sendbuff, recvbuff, count, datatype}, &op))

EMU_NCCL_GROUPED(ncclScatter,
                 (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
                  ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream),
                 run(comm, stream, {Kind::Scatter, call.name, sendbuff, recvbuff, count, datatype, root}))

EMU_API ncclResult_t ncclSend(const void* sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                              cudaStream_t stream) {
  void* const recvbuff = nullptr;
  return EMU_CALL(groupedEntry, (sendbuff, recvbuff, count, datatype, peer, comm, stream),
                  run(comm, stream, {Kind::Send, call.name, sendbuff, recvbuff, count, datatype, peer}));
}

EMU_API ncclResult_t ncclRecv(void* recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                              cudaStream_t stream) {
  const void* const sendbuff = nullptr;
  return EMU_CALL(groupedEntry, (sendbuff, recvbuff, count, datatype, peer, comm, stream),
                  run(comm, stream, {Kind::Recv, call.name, sendbuff, recvbuff, count, datatype, peer}));
}

}  // namespace emu::nccl
