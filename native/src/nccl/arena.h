// Layout of the shared memory of one communicator: a control block, then for every rank its host data, its send buffer
// and its message rings. Zeroed memory is a valid arena to which nobody has come yet.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "abi/nccl.h"
#include "base/wait.h"
#include "nccl/process.h"

namespace emu::arena {

constexpr int kMaxRanks = 64;
constexpr uint64_t kMagic = 0x6e63636c346a6172;  // "nccl4jar"
constexpr size_t kNonceBytes = 16;
constexpr size_t kTextBytes = 400;
constexpr size_t kHostDataBytes = 4096;      // the most that one rank gives to a host-side all-gather
constexpr size_t kChunkBytes = 512 * 1024;   // what one rank shows to the others in one round of a collective
constexpr size_t kOperationBytes = 112;        // of the text of an operation
constexpr size_t kCallWords = kOperationBytes / sizeof(uint64_t);
constexpr uint64_t kCallsKept = 256;           // how far one rank may be ahead of another and still be compared with it
constexpr size_t kRingSlots = 2;
constexpr size_t kRingSlotBytes = 64 * 1024; // what one message moves at a time

enum class Gathering : uint32_t { Open = 0, Complete, Failed };
enum class Presence : uint32_t { Absent = 0, Coming, Present, Left, Aborted };

// Every round is joined by all ranks. Who posts last notifies. As a rank posts round n+1 only after it has read all of
// round n, what was posted in round n may be overwritten from round n+2 on.
struct Rounds {
  std::atomic<uint64_t> posts;
  EventCount changed;
};

// A fact that is written once, by whoever comes first.
struct FailureRecord {
  std::atomic<uint32_t> state;  // 0 none, 1 being written, 2 readable
  int32_t rank;
  uint32_t code;  // ncclResult_t
  char text[kTextBytes];
};

struct alignas(64) RankState {
  std::atomic<Presence> presence;
  int32_t device;
  int32_t host;  // number of the emulated host that the device is in
  ProcessIdentity process;
  std::atomic<uint64_t> hostRound;    // the last that this rank posted
  std::atomic<uint64_t> deviceRound;
  std::atomic<uint64_t> calls;  // collective operations that this rank has called
  EventCount messages;                // peers sent to this rank or took what it sent
};

struct Control {
  uint64_t magic;
  unsigned char nonce[kNonceBytes];
  std::atomic<int32_t> size;
  std::atomic<int32_t> arrived;
  std::atomic<Gathering> gathering;
  FailureRecord refusal;  // why the ranks did not come together
  EventCount changed;
  alignas(64) Rounds host;
  alignas(64) Rounds device;
  FailureRecord failure;  // why device work of this communicator cannot go on
  std::atomic<uint32_t> mismatched;  // 1: it is that the ranks called different operations
  RankState ranks[kMaxRanks];
};

// What a rank says of the collective that it takes part in, next to the data of each round.
struct Statement {
  char text[kOperationBytes];
  uint64_t round;  // within the operation
};

// A text of kOperationBytes.
struct CalledOperation {
  std::atomic<uint64_t> words[kCallWords];
};

struct HostData {
  uint32_t kind;
  uint32_t bytes;
  unsigned char data[kHostDataBytes];
};

// One direction between two ranks.
struct Ring {
  std::atomic<uint64_t> posted;
  alignas(64) std::atomic<uint64_t> taken;
  struct Slot {
    uint64_t messageBytes;  // of the whole message
    uint64_t bytes;         // in this slot
  } slots[kRingSlots];
};

struct RankArea {
  HostData hostData[2];
  Statement statements[2];
  CalledOperation calls[kCallsKept];  // the newest, in the place of their number
  Ring rings[kMaxRanks];  // to each peer
  alignas(4096) unsigned char chunks[2][kChunkBytes];
  unsigned char messages[kMaxRanks][kRingSlots][kRingSlotBytes];
};

constexpr size_t kControlBytes = (sizeof(Control) + 4095) / 4096 * 4096;

constexpr size_t bytesFor(int ranks) { return kControlBytes + static_cast<size_t>(ranks) * sizeof(RankArea); }

inline Control& control(unsigned char* base) { return *reinterpret_cast<Control*>(base); }

inline RankArea& area(unsigned char* base, int rank) {
  return *reinterpret_cast<RankArea*>(base + kControlBytes + static_cast<size_t>(rank) * sizeof(RankArea));
}

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<Presence>::is_always_lock_free);
static_assert(sizeof(RankArea) % 4096 == 0);

// Writes the failure if there is none yet; false if another came first.
bool recordFailure(FailureRecord& failure, int rank, ncclResult_t code, const char* text);
// Whether a failure was recorded. One that is being written counts: its writer may have died over it.
inline bool failureRecorded(const FailureRecord& failure) { return failure.state.load(std::memory_order_acquire) != 0; }
// A failure as the ranks read it.
struct RecordedFailure {
  int rank;
  ncclResult_t code;
  const char* text;
};
// Of a record that there is; waits a moment for one being written.
RecordedFailure readFailure(FailureRecord& failure);

}  // namespace emu::arena
