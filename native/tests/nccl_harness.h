// Ranks as threads and as processes, for the tests of the NCCL room.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "abi/cuda_runtime.h"
#include "abi/nccl.h"
#include "nccl4j_emulator.h"

namespace nccl_test {

#define EXPECT_NCCL(expected, call) EXPECT_EQ(static_cast<int>(expected), static_cast<int>(call)) << ncclGetLastError(nullptr)
#define ASSERT_NCCL(expected, call) ASSERT_EQ(static_cast<int>(expected), static_cast<int>(call)) << ncclGetLastError(nullptr)
#define EXPECT_CUDA(expected, call) EXPECT_EQ(static_cast<int>(expected), static_cast<int>(call))
#define ASSERT_CUDA(expected, call) ASSERT_EQ(static_cast<int>(expected), static_cast<int>(call))

// Sets an option for the length of a test.
class Option {
 public:
  Option(const char* name, const char* value);
  ~Option();
  Option(const Option&) = delete;
  Option& operator=(const Option&) = delete;

 private:
  const std::string name_;
  std::string before_;
};

// One rank: its device is current, its communicator and stream are ready.
struct Rank {
  int rank = 0;
  int size = 1;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
};

ncclUniqueId makeId();

// Runs body for each number 0..count-1, all at once on threads of their own.
void onThreads(int count, const std::function<void(int)>& body);

// Makes a communicator of `size` threads, runs body on each, and destroys everything. Rank r is on device r.
void asThreads(int size, const std::function<void(Rank&)>& body);

// One rank in the calling thread: device, communicator, stream, body, end.
void asRank(const ncclUniqueId& id, int size, int rank, const std::function<void(Rank&)>& body);

// Device memory that holds `values`.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    EXPECT_CUDA(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)));
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { write(values); }
  ~Buffer() {
    // Not under a failed device: then the memory is gone with the device.
    cudaFree(data_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return data_; }
  size_t count() const { return count_; }
  void write(const std::vector<T>& values) {
    EXPECT_CUDA(cudaSuccess, cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    EXPECT_CUDA(cudaSuccess, cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  const size_t count_;
  T* data_ = nullptr;
};

// ---- processes ----

// What a child process does; `parameters` are its own words.
using Role = std::function<void(const std::vector<std::string>& parameters)>;

// Registers a role at start-up: static RoleOf r("name", function).
struct RoleOf {
  RoleOf(const char* name, Role role);
};

class Child {
 public:
  // Starts this test program anew in the role.
  Child(const std::string& role, const std::vector<std::string>& parameters);
  ~Child();
  Child(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // Blocks until the child called tellParent(); false if it ended before.
  bool awaitWord();
  void kill();
  // The exit status as of waitpid; 0 if its role ran without a failed expectation.
  int join();

 private:
  pid_t pid_ = -1;
  int fd_ = -1;
};

void tellParent();  // in a child

std::string toHex(const ncclUniqueId& id);
ncclUniqueId fromHex(const std::string& text);

// ---- what a process holds ----

size_t openFiles();
size_t mappedArenas();  // mappings of shared memory of the emulator
size_t threads();
nccl4jEmuUsage_t usage();

// Files, shared mappings and communicators: must be the same before and after whatever fails.
class Holdings {
 public:
  Holdings();
  void expectUnchanged() const;

 private:
  size_t files_;
  size_t arenas_;
  uint64_t communicators_;
};

}  // namespace nccl_test
