// Whose turn it is: the group-wide epoch of LL operations, its banks, and who takes part.
#pragma once

#include "cuda/work.h"
#include "ep/group.h"

namespace emu::ep {

// What an LL operation fixes of the group's state at its call.
struct LlTicket {
  const char* function = "";
  Operation operation = Operation::None;
  uint32_t generation = 0;  // of the buffer whose address the operation uses
  bool staged = false;
};

// One half or the whole of an LL operation while it runs.
class LlTurn {
 public:
  LlTurn(Group& group, const LlTicket& ticket, WorkContext& context) : group_(group), ticket_(ticket), context_(context) {}
  ~LlTurn();
  LlTurn(const LlTurn&) = delete;
  LlTurn& operator=(const LlTurn&) = delete;

  // The first half, or the whole: takes the bank of the epoch, meets injected faults, makes the bank free.
  cudaError_t startSend();
  // The second half of a staged operation.
  cudaError_t startReceive();
  // Both advance the epoch as far as the half that ended does.
  void finishSend();
  void finishReceive();

  Group& group() const { return group_; }
  const LlTicket& ticket() const { return ticket_; }
  Bank bank(int rank) const;
  Bank mine() const { return bank(group_.rank); }

  // Tells `destination` that its part of the bank is there.
  void post(int destination, uint32_t count) const;
  // Takes the message of a source. *present is false if there is none and the operation goes on without the source: it is
  // masked, or was masked now because it is late.
  cudaError_t receive(int source, bool* present, uint32_t* count);
  void release(int source) const;

  // In which order sources are taken: ascending, or shuffled.
  const std::vector<int32_t>& sourceOrder();
  // Fills `order` with 0..n-1, shuffled if that is asked for.
  void shuffled(std::vector<int32_t>* order, size_t n, uint64_t salt) const;

 private:
  cudaError_t enter();
  Channel channel() const { return bank_ == 0 ? Channel::LlBank0 : Channel::LlBank1; }
  bool deaf(int source) const;

  Group& group_;
  const LlTicket& ticket_;
  WorkContext& context_;
  int bank_ = 0;
  bool entered_ = false;
  uint64_t deadline_ = 0;
};

}  // namespace emu::ep
