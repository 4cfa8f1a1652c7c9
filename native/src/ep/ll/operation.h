// LL operations between their call and their work: whole, or in two halves.
#pragma once

#include "ep/handle.h"
#include "ep/ll/execution.h"

namespace emu::ep {

// Everything that an LL operation fixes at its call; what its pointers point to is read and written when it runs.
struct LlOperation {
  enum class Part { Whole, Send, Receive };

  std::shared_ptr<Group> group;
  LlLaunch launch;
  bool rankMajor = false;
  size_t tokens = 0;  // T
  size_t topk = 0;    // K
  const void* routing = nullptr;
  bool wideRouting = false;
  unsigned char* block = nullptr;

  LlOperation() = default;
  LlOperation(const LlOperation&) = default;
  virtual ~LlOperation() = default;

  void fix(const Call& call, const Handle& handle, Operation operation, bool staged, size_t tokenCount);
  cudaError_t run(WorkContext& context, Part part) const;

 protected:
  // Fills this rank's send buffer and tells the others.
  virtual cudaError_t send(WorkContext& context, LlExecution& execution) const = 0;
  // Takes what the others have for this rank.
  virtual cudaError_t receive(WorkContext& context, LlExecution& execution) const = 0;

  // What this rank announces in its send buffer, and whether a source announces the same.
  void announce(SendBufferHeader& header, size_t rowBytes) const;
  cudaError_t checkSource(WorkContext& context, int source, const SendBufferHeader& theirs, size_t rowBytes) const;
};

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

// Enqueues a part of the operation.
ncclResult_t submitLl(Call& call, const std::shared_ptr<const LlOperation>& op, LlOperation::Part part,
                      cudaStream_t stream);

// Enqueues the operation on the stream: all of it, or its send half with the rest kept in the handle.
// `refresh(continuation, op)` renews the pointers of a copy when the rest is enqueued, on the same stream whatever
// Complete is given.
template <class Op, class Refresh>
ncclResult_t submitLl(Call& call, Handle& handle, const std::shared_ptr<Op>& op, cudaStream_t stream, Refresh refresh) {
  if (!op->launch.staged) return submitLl(call, op, LlOperation::Part::Whole, stream);
  if (auto failure = submitLl(call, op, LlOperation::Part::Send, stream)) return failure;
  handle.continuation = [op, stream, refresh](Call& later) {
    auto rest = std::make_shared<Op>(*op);
    Continuation continuation;
    refresh(&continuation, rest.get());
    if (continuation.failed() != nullptr) {
      return later.undefined("%s: the descriptor given to the send_only call is gone", continuation.failed());
    }
    return submitLl(later, rest, LlOperation::Part::Receive, stream);
  };
  return ncclSuccess;
}

}  // namespace emu::ep
