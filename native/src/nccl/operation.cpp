#include "nccl/operation.h"

#include "nccl/arguments.h"

namespace emu::nccl {

namespace {

// In the order of Kind.
constexpr const char* kNames[] = {"ncclAllGather", "ncclAllReduce", "ncclAlltoAll",      "ncclBroadcast", "ncclGather",
                                  "ncclReduce",    "ncclReduceScatter", "ncclScatter", "ncclSend",      "ncclRecv"};

bool rooted(Kind kind) {
  return kind == Kind::Broadcast || kind == Kind::Gather || kind == Kind::Reduce || kind == Kind::Scatter;
}

}  // namespace

std::string describe(const Operation& operation) {
  std::string text = std::string(kNames[static_cast<size_t>(operation.kind)]) + "(";
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
