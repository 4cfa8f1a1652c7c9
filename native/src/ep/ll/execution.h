// An LL operation while it runs: the group-wide epoch, the send buffer that the epoch selects, and the messages of the
// others.
#pragma once

#include <optional>

#include "ep/execution.h"

namespace emu::ep {

// What an LL operation fixes of the group's state at its call.
struct LlLaunch {
  const char* function = "";
  Operation operation = Operation::None;
  uint32_t generation = 0;  // of the buffer whose address the operation uses
  bool staged = false;      // in two halves
};

// One half or the whole of an LL operation while it runs.
class LlExecution : public Execution {
 public:
  LlExecution(Group& group, const LlLaunch& launch, WorkContext& context)
      : Execution(group, launch.function, context), launch_(launch) {}

  // The first half, or the whole: applies injected faults and empties this rank's send buffer.
  void startSend();
  // The second half of a staged operation.
  void startReceive();
  // Both advance the epoch as far as the half that ended does.
  void finishSend();
  void finishReceive();

  SendBuffer buffer(int rank) const;
  SendBuffer mine() const { return buffer(group_.rank); }

  // Tells every active rank how many rows this rank's send buffer holds for it.
  void postToActive() const;
  // Takes the message of a source: the number of its rows. None if the operation goes on without the source: it is
  // masked, or was masked now because it is late.
  std::optional<uint32_t> receive(int source);

  // In which order sources are taken: ascending, or shuffled.
  const std::vector<int32_t>& sourceOrder();
  // Fills `order` with 0..n-1, shuffled if that is asked for.
  void shuffled(std::vector<int32_t>* order, size_t n, uint64_t salt) const;

 private:
  void enter();

  const LlLaunch& launch_;
  uint64_t deadline_ = 0;
};

}  // namespace emu::ep
