// Groups, handles and tensors for the tests of the EP room.
#pragma once

#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "abi/nccl_ep.h"
#include "ep_formats.h"
#include "nccl_harness.h"

namespace ep_test {

using nccl_test::Option;
using nccl_test::Rank;

#define EXPECT_EP(expected, call) EXPECT_EQ(static_cast<int>(expected), static_cast<int>(call)) << ep_test::lastReason()
#define ASSERT_EP(expected, call) ASSERT_EQ(static_cast<int>(expected), static_cast<int>(call)) << ep_test::lastReason()

// The newest entries of the call log of this process that carry a reason, for messages.
std::string lastReason();

// What the emulator recorded as misuse since the object was made.
class Misuses {
 public:
  Misuses();
  std::vector<nccl4jEmuMisuse_t> since() const;
  // The last one's kind, -1 if there was none.
  int lastEnd() const;
  std::string lastText() const;

 private:
  uint64_t from_ = 1;
};

class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const char* value) : name_(name) {
    EXPECT_EQ(0, nccl4jEmuSetEnvironment(name, value));
  }
  ~EnvironmentVariable() { EXPECT_EQ(0, nccl4jEmuSetEnvironment(name_, nullptr)); }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  const char* name_;
};

template <class Struct>
Struct made(size_t size = sizeof(Struct)) {
  Struct value;
  std::memset(&value, 0, sizeof value);
  value.size = static_cast<unsigned>(size);
  value.magic = NCCL_EP_MAGIC;
  return value;
}

// A descriptor with device memory of its own.
class Tensor {
 public:
  Tensor(ncclDataType_t type, std::vector<size_t> sizes);
  // Without memory: data is NULL.
  static std::unique_ptr<Tensor> bare(ncclDataType_t type, std::vector<size_t> sizes);
  // In a symmetric window of the communicator; collective.
  static std::unique_ptr<Tensor> windowed(ncclComm_t comm, ncclDataType_t type, std::vector<size_t> sizes,
                                          bool withData = true);
  ~Tensor();
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  ncclEpTensor_t* get() { return &descriptor_; }
  operator ncclEpTensor_t*() { return &descriptor_; }
  ncclEpTensor_t* operator->() { return &descriptor_; }
  ncclDataType_t type() const { return descriptor_.datatype; }
  size_t elements() const;
  size_t bytes() const { return elements() * bytesOf(descriptor_.datatype); }
  // Emulated device memory can be reached by the host. Only for work that runs in stream order, and between
  // synchronisations.
  template <class Element>
  Element* raw() const {
    return static_cast<Element*>(memory_);
  }

  template <class Element>
  void write(const std::vector<Element>& values) {
    ASSERT_LE(values.size() * sizeof(Element), bytes());
    if (!values.empty()) std::memcpy(memory_, values.data(), values.size() * sizeof(Element));
  }
  template <class Element>
  std::vector<Element> read() const {
    std::vector<Element> values(bytes() / sizeof(Element));
    if (!values.empty()) std::memcpy(values.data(), memory_, values.size() * sizeof(Element));
    return values;
  }
  void fill(int byte) {
    if (bytes() > 0) std::memset(memory_, byte, bytes());
  }

 private:
  Tensor(std::vector<size_t> sizes, ncclDataType_t type, void* memory);
  std::vector<size_t> sizes_;
  ncclEpTensor_t descriptor_;
  void* memory_ = nullptr;
  ncclComm_t comm_ = nullptr;  // of the window
};

ncclEpGroupConfig_t lowLatency(unsigned experts, unsigned maxTokens, unsigned maxTokenBytes);
// maxReceive 0 = eager mode
ncclEpGroupConfig_t highThroughput(unsigned experts, unsigned maxTokens, unsigned maxTokenBytes, unsigned maxReceive);

class Group {
 public:
  Group(const Rank& rank, const ncclEpGroupConfig_t& config);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  operator ncclEpGroup_t() const { return group_; }
  void abandon() { group_ = nullptr; }

 private:
  ncclEpGroup_t group_ = nullptr;
};

class Handle {
 public:
  Handle(ncclEpGroup_t group, ncclEpLayout_t layout, int topk, size_t alignment = 0, ncclEpTensor_t* memory = nullptr);
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator ncclEpHandle_t() const { return handle_; }

 private:
  ncclEpHandle_t handle_ = nullptr;
};

// Where ranks of one process meet, outside of the library.
class Barrier {
 public:
  explicit Barrier(int count) : count_(count) {}
  void meet() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int round = round_;
    if (++arrived_ == count_) {
      arrived_ = 0;
      ++round_;
      all_.notify_all();
    }
    all_.wait(lock, [&] { return round_ != round; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  const int count_;
  int arrived_ = 0;
  int round_ = 0;
};

// What `body` enqueues on the rank's stream, as a graph.
class Captured {
 public:
  Captured(const Rank& rank, const std::function<void()>& body) {
    EXPECT_CUDA(cudaSuccess, cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
    body();
    EXPECT_CUDA(cudaSuccess, cudaStreamEndCapture(rank.stream, &graph_));
    EXPECT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec_, graph_, 0));
  }
  ~Captured() {
    EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec_));
    EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph_));
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  void launch(const Rank& rank) { EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec_, rank.stream)); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

void synchronize(const Rank& rank);

}  // namespace ep_test
