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

  virtual ~LlOperation() = default;

  void fix(const Call& call, const Handle& handle, Operation operation, bool staged, size_t tokenCount);
  void run(WorkContext& context, Part part) const;

 protected:
  // Fills this rank's send buffer and tells the others.
  virtual void send(LlExecution& execution) const = 0;
  // Takes what the others have for this rank.
  virtual void receive(LlExecution& execution) const = 0;

  // What this rank announces in its send buffer, and whether a source announces the same.
  void announce(SendBufferHeader& header, size_t rowBytes) const;
  void checkSource(const Execution& execution, int source, const SendBufferHeader& theirs, size_t rowBytes) const;
};

// Reads a data pointer from the caller's descriptor again, as Complete does.
template <class Element>
void refresh(Call& call, const char* name, const ncclEpTensor_t* descriptor, Element** data) {
  if (descriptor != nullptr) *data = static_cast<Element*>(currentData(call, name, descriptor));
}

// Enqueues a part of the operation.
void submitLl(Call& call, const std::shared_ptr<const LlOperation>& op, LlOperation::Part part, cudaStream_t stream);

// Enqueues the operation on the stream: all of it, or its send half with the rest kept in the handle.
// `renew(call, op)` refreshes the pointers of a copy when the rest is enqueued, on the same stream whatever Complete is
// given.
template <class Op, class Renew>
void submitLl(Call& call, Handle& handle, const std::shared_ptr<Op>& op, cudaStream_t stream, Renew renew) {
  if (!op->launch.staged) return submitLl(call, op, LlOperation::Part::Whole, stream);
  submitLl(call, op, LlOperation::Part::Send, stream);
  handle.continuation = [op, stream, renew](Call& later) {
    auto rest = std::make_shared<Op>(*op);
    renew(later, *rest);
    submitLl(later, rest, LlOperation::Part::Receive, stream);
  };
}

}  // namespace emu::ep
