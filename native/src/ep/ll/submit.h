// From a checked LL call to work on a stream: whole, or in two halves.
#pragma once

#include "cuda/work.h"
#include "ep/ll/epoch.h"
#include "ep/handle.h"

namespace emu::ep {

LlTicket makeTicket(Call& call, Handle& handle, Operation operation, bool staged);

// Reads data pointers from the caller's descriptors again, as Complete does.
class Continuation {
 public:
  template <class Element>
  void refresh(const char* name, const ncclEpTensor_t* descriptor, Element** data) {
    if (descriptor == nullptr || failed_ != nullptr) return;
    unsigned char* current = nullptr;
    if (currentData(descriptor, &current)) {
      *data = reinterpret_cast<Element*>(current);
    } else {
      failed_ = name;
    }
  }
  const char* failed() const { return failed_; }

 private:
  const char* failed_ = nullptr;
};

// What a failed launch means to the caller.
ncclResult_t launched(Call& call, cudaError_t error);

// Enqueues the operation on the stream: all of it, or its send half with the rest kept in the handle. `refresh(continuation,
// op)` renews the pointers of a copy when the rest is enqueued, on the same stream whatever Complete is given.
template <class Op, class Refresh>
ncclResult_t submitLl(Call& call, const std::shared_ptr<Handle>& handle, const std::shared_ptr<Op>& op, cudaStream_t stream,
                      Refresh refresh) {
  const bool dispatch = op->ticket.operation == Operation::Dispatch;
  Work work;
  work.rank = op->group->rank;
  if (!op->ticket.staged) {
    work.name = dispatch ? "ncclEpDispatch" : "ncclEpCombine";
    work.run = [op](WorkContext& context) { return op->run(context); };
    return launched(call, submit(stream, std::move(work)));
  }
  work.name = dispatch ? "ncclEpDispatch send" : "ncclEpCombine send";
  work.run = [op](WorkContext& context) { return op->send(context); };
  if (auto failure = launched(call, submit(stream, std::move(work)))) return failure;
  handle->continuation = [op, stream, refresh, dispatch](Call& later) {
    auto rest = std::make_shared<Op>(*op);
    Continuation continuation;
    refresh(&continuation, rest.get());
    if (continuation.failed() != nullptr) {
      return later.undefined("%s: the descriptor given to the send_only call is gone", continuation.failed());
    }
    Work second;
    second.name = dispatch ? "ncclEpDispatch receive" : "ncclEpCombine receive";
    second.rank = rest->group->rank;
    second.run = [rest](WorkContext& context) { return rest->receive(context); };
    return launched(later, submit(stream, std::move(second)));
  };
  return ncclSuccess;
}

}  // namespace emu::ep
