#include "nccl/operation.h"

#include "nccl/arguments.h"
#include "nccl/data_types.h"

namespace emu::nccl {

namespace {

const char* nameOf(Kind kind) {
  switch (kind) {
    case Kind::AllGather: return "ncclAllGather";
    case Kind::AllReduce: return "ncclAllReduce";
    case Kind::AlltoAll: return "ncclAlltoAll";
    case Kind::Broadcast: return "ncclBroadcast";
    case Kind::Gather: return "ncclGather";
    case Kind::Reduce: return "ncclReduce";
    case Kind::ReduceScatter: return "ncclReduceScatter";
    case Kind::Scatter: return "ncclScatter";
    case Kind::Send: return "ncclSend";
    case Kind::Recv: return "ncclRecv";
  }
  return "something unknown";
}

bool rooted(Kind kind) {
  return kind == Kind::Broadcast || kind == Kind::Gather || kind == Kind::Reduce || kind == Kind::Scatter;
}

}  // namespace

std::string describe(const Operation& operation) {
  std::string text = std::string(nameOf(operation.kind)) + "(";
  if (operation.reduces()) {
    text += std::to_string(operation.count) + " " + typeName(operation.type) + ", ";
    text += operation.reducer == Reducer::PreMulSum ? "premulsum" : reductionName(static_cast<ncclRedOp_t>(operation.reducer));
  } else {
    text += std::to_string(operation.count * sizeOf(operation.type)) + " bytes";
  }
  if (rooted(operation.kind)) text += ", root " + std::to_string(operation.root);
  return text + ")";
}

}  // namespace emu::nccl
