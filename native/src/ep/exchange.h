// How the ranks of a group reach each other: one shared segment per rank, holding what the rank has to tell (its
// payload) and a mailbox for each source and channel.
//
// The data stay with the source. It writes its payload once, posts a message to each destination, and the destinations
// pull what they need and empty the mailbox, which tells the source that the payload may be overwritten. A message is
// consumed by its receiver; there are no absolute sequence numbers, so that a rank which was masked can come back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/wait.h"
#include "nccl/team.h"

namespace emu::ep {

enum class Channel { LlBuffer0, LlBuffer1, CleanFirst, CleanSecond, Routing, Dispatch, Combine };
constexpr size_t kChannels = 7;

enum class Operation : uint8_t { None, Update, Dispatch, Combine, MaskClean };
const char* nameOf(Operation operation);

enum class Arrival {
  Here,
  Late,    // the deadline passed
  Gone,    // the other rank's process ended, or it aborted its communicator
  Broken   // this rank aborted its communicator, or the process's waits were broken
};

class Exchange {
 public:
  // Collective. Every rank contributes a segment with room for `payloadBytes`.
  TeamResult open(const std::shared_ptr<Team>& team, size_t payloadBytes, uint64_t deadline);

  unsigned char* payload(int rank) const { return segments_[static_cast<size_t>(rank)]->data() + payloadAt_; }

  // ---- as the source ----
  // The mailbox must be empty, or be one of those that awaitValue looks at. `value` has 56 bits.
  void post(Channel channel, int destination, uint64_t value);
  // Waits until the destination has emptied the mailbox.
  Arrival awaitEmptied(Channel channel, int destination, uint64_t deadline);
  // Takes back a message that was not received; waits only while the destination is reading it.
  void retract(Channel channel, int destination);

  // ---- as the destination ----
  // On Here the message is being read until release().
  Arrival receive(Channel channel, int source, uint64_t deadline, bool deaf, uint64_t* value);
  void release(Channel channel, int source);
  // Empties all mailboxes of this rank on the channel.
  void clear(Channel channel);

  // Waits for exactly this value and leaves it there, as barriers that compare counts do.
  Arrival awaitValue(Channel channel, int source, uint64_t value, uint64_t deadline);

  // What this rank's work is doing, for the messages of others.
  void started(Operation operation);
  // "rank 1 (last started ncclEpCombine, its 7th operation)".
  std::string progressOf(int rank) const;

 private:
  struct alignas(64) Mailbox {
    std::atomic<uint64_t> word;
  };
  struct alignas(64) Header {
    EventCount changed;
    std::atomic<uint64_t> position;  // operations started << 8 | Operation
    // Per channel the source that this rank waits for, plus 1: others need not wake it.
    std::atomic<uint32_t> awaited[kChannels];
  };

  Header& header(int rank) const { return *reinterpret_cast<Header*>(segments_[static_cast<size_t>(rank)]->data()); }
  std::atomic<uint64_t>& mail(Channel channel, int source, int destination) const;
  Arrival wait(Channel channel, int other, const std::function<bool()>& ready, uint64_t deadline) const;
  Arrival waitForPost(Channel channel, int source, const std::function<bool()>& ready, uint64_t deadline) const;
  bool requestNotice(std::atomic<uint64_t>& word) const;

  std::shared_ptr<Team> team_;
  std::vector<std::shared_ptr<Segment>> segments_;
  int rank_ = 0;
  int ranks_ = 0;
  size_t payloadAt_ = 0;
};

}  // namespace emu::ep
