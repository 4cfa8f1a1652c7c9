// Anonymous shared memory that other processes find through /proc: it has no name, so nothing outlives the processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "nccl/process.h"


namespace emu {

// An open file, closed by its owner.
class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File();
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

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

// Where a piece of shared memory can be opened. Plain data.
struct MemoryAddress {
  ProcessIdentity owner;
  int32_t fd;
  uint64_t inode;
  uint64_t bytes;
};

class SharedMemory {
 public:
  // New zeroed memory, lazily backed. An invalid File on failure, and `why` tells.
  static File create(size_t bytes, std::string* why);
  static MemoryAddress addressOf(const File& file, size_t bytes);
  // Opens what another process (or this one) holds open, if it is still the same memory.
  static File open(const MemoryAddress& address, std::string* why);

  // Maps the first `bytes` of the memory; the mapping keeps it alive without the file. All of one process's mappings of
  // the same memory and size are one.
  static std::shared_ptr<Segment> map(const File& file, size_t bytes, std::string* why);
  // The same, opening the memory only if this process has not mapped it yet.
  static std::shared_ptr<Segment> map(const MemoryAddress& address, std::string* why);
};

}  // namespace emu
