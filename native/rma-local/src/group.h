// What the ranks of one connection share: who they are, and the memory that each has registered.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "rma_abi.h"

namespace rma_local {

// Goes to the other ranks as the address of a rank.
struct Address {
  std::uint64_t process;
  std::uint64_t number;
  std::int64_t processId;
  char host[64];
};
static_assert(sizeof(Address) <= abi::addressBytes);

// An address of this process that no other has.
Address newAddress();

// Memory that all ranks registered together, each its own part.
class Region {
 public:
  struct Part {
    // Shared by who copies, held alone by who takes the memory away.
    std::shared_mutex use;
    char* base = nullptr;
    std::size_t size = 0;
    // A device, or -1 for host memory.
    int device = -1;
  };

  explicit Region(int ranks) : parts_(static_cast<std::size_t>(ranks)) {}

  Part& part(int rank) { return parts_[static_cast<std::size_t>(rank)]; }

  // Held while a signal of this memory is changed.
  std::mutex signals;

 private:
  std::vector<Part> parts_;
};

class Group {
 public:
  // Waits until all ranks have come. The group of the same ranks' earlier connection is another one.
  static std::shared_ptr<Group> join(const std::vector<Address>& addresses, int rank);

  explicit Group(int ranks) : ranks_(ranks), registrations_(static_cast<std::size_t>(ranks)) {}

  int ranks() const { return ranks_; }

  // Registers a rank's part and waits for those of the others, which register in the same order.
  std::shared_ptr<Region> registerPart(int rank, void* base, std::size_t size, int device);

  // Lets nobody wait for a rank that has failed.
  void fail(int rank, const std::string& text);

 private:
  struct Registration {
    std::shared_ptr<Region> region;
    std::vector<bool> arrived;
  };

  void await(std::unique_lock<std::mutex>& lock, std::vector<bool>& arrived, int rank, const char* what);

  const int ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string failure_;
  std::vector<bool> joined_;
  // By number, where none moves while a rank waits; and how many each rank has made.
  std::deque<Registration> regions_;
  std::vector<std::size_t> registrations_;
};

}  // namespace rma_local
