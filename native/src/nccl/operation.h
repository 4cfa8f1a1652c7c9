// One collective or point-to-point operation as a call described it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "abi/nccl.h"
#include "cuda/work.h"
#include "nccl/device_wait.h"
#include "nccl/reduction.h"
#include "nccl/state.h"

namespace emu::nccl {

enum class Kind { AllGather, AllReduce, AlltoAll, Broadcast, Gather, Reduce, ReduceScatter, Scatter, Send, Recv };

struct Operation {
  Kind kind = Kind::AllGather;
  const char* function = "";  // the exported one, static storage
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclInt8;
  int root = 0;  // or the peer
  Reducer reducer = Reducer::Sum;
  std::shared_ptr<const PreMulSum> factor = nullptr;  // of Reducer::PreMulSum

  bool reduces() const { return kind == Kind::AllReduce || kind == Kind::Reduce || kind == Kind::ReduceScatter; }
  bool pointToPoint() const { return kind == Kind::Send || kind == Kind::Recv; }
};

// "ncclAllReduce(4 float32, sum)": the same for two operations that match between ranks. Operations that only move data
// match if they move the same bytes.
std::string describe(const Operation& operation);

// Runs one collective for this rank, on the worker of its stream.
void runCollective(DeviceWait& wait, const Operation& operation, WorkContext& context);

// Runs sends and receives side by side until all are done: those to one peer in order, all others in any order. A send
// is done when its data is in the ring, so that a short one does not wait for the receiver.
void runMessages(DeviceWait& wait, const std::vector<Operation>& operations, WorkContext& context);

}  // namespace emu::nccl
