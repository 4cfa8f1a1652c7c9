// An LL operation while it runs: the group-wide epoch, the send buffer that the epoch selects, and the messages of the
// others.
#pragma once

#include "ep/group.h"

namespace emu::ep {

// What an LL operation fixes of the group's state at its call.
struct LlLaunch {
  const char* function = "";
  Operation operation = Operation::None;
  uint32_t generation = 0;  // of the buffer whose address the operation uses
  bool staged = false;      // in two halves
};

// One half or the whole of an LL operation while it runs.
class LlExecution {
 public:
  LlExecution(Group& group, const LlLaunch& launch, WorkContext& context)
      : group_(group), launch_(launch), context_(context) {}
  ~LlExecution();
  LlExecution(const LlExecution&) = delete;
  LlExecution& operator=(const LlExecution&) = delete;

  // The first half, or the whole: applies injected faults and empties this rank's send buffer.
  cudaError_t startSend();
  // The second half of a staged operation.
  cudaError_t startReceive();
  // Both advance the epoch as far as the half that ended does.
  void finishSend();
  void finishReceive();

  SendBuffer buffer(int rank) const;
  SendBuffer mine() const { return buffer(group_.rank); }

  // Tells every active rank how many rows this rank's send buffer holds for it.
  void postToActive() const;
  // Takes the message of a source. *present is false if there is none and the operation goes on without the source: it
  // is masked, or was masked now because it is late.
  cudaError_t receive(int source, bool* present, uint32_t* count);
  void release(int source) const;

  // In which order sources are taken: ascending, or shuffled.
  const std::vector<int32_t>& sourceOrder();
  // Fills `order` with 0..n-1, shuffled if that is asked for.
  void shuffled(std::vector<int32_t>* order, size_t n, uint64_t salt) const;

 private:
  cudaError_t enter();
  Channel channel() const { return buffer_ == 0 ? Channel::LlBuffer0 : Channel::LlBuffer1; }

  Group& group_;
  const LlLaunch& launch_;
  WorkContext& context_;
  int buffer_ = 0;
  bool entered_ = false;
  uint64_t deadline_ = 0;
  uint64_t slowUntil_ = 0;  // before that nothing of other teams arrives
};

}  // namespace emu::ep
