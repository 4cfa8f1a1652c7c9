// What the ranks of a communicator share: found through the 128-byte unique id, threads and processes alike.
//
// Everything lives in anonymous shared memory (memfd) that other processes open through /proc/<pid>/fd, so no name
// outlives the processes, whatever kills them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/wait.h"

namespace emu {

// A lazily backed shared mapping, unmapped by its last owner.
class Segment {
 public:
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  unsigned char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class SharedMemory;
  Segment(unsigned char* data, size_t bytes) : data_(data), bytes_(bytes) {}
  unsigned char* data_;
  size_t bytes_;
};

enum class TeamResult {
  Ok,
  Timeout,   // the deadline passed
  Broken,    // nccl4jEmuBreakWaits, or shared memory could not be had
  PeerDied,  // the process of a rank that is waited for ended, or the rank left, aborted or reported a failure
  Aborted,   // this rank called ncclCommAbort
  Mismatch   // the ranks called different things
};

class Team {
 public:
  virtual ~Team() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Host-side collectives, called by the API thread of every rank in the same order; each ends by `deadline` at the
  // latest.
  virtual TeamResult barrier(uint64_t deadline) = 0;
  // in: `bytes` of this rank; out: size() * bytes in rank order. bytes is at most 4096.
  virtual TeamResult allGather(const void* in, void* out, size_t bytes, uint64_t deadline) = 0;
  // Each rank contributes one zeroed segment of `bytes` (may differ); all are mapped by all. segments[r] is rank r's.
  virtual TeamResult shareSegments(size_t bytes, std::vector<std::shared_ptr<Segment>>* segments, uint64_t deadline) = 0;

  // For the waits of device work: whether to give up.
  virtual bool alive(int rank) const = 0;    // its process exists and it did not call ncclCommAbort
  virtual bool aborted() const = 0;          // this rank called ncclCommAbort

  // Whether the communicator cannot go on, as a rank has told all; and why.
  virtual bool failed() const = 0;
  virtual std::string failureText() = 0;

  // What ended the calling thread's last host-side collective that did not end with Ok, in words that name the ranks.
  virtual std::string explain() const = 0;
};

}  // namespace emu
