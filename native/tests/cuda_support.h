// What the tests of the CUDA room share.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "abi/cuda_runtime.h"
#include "base/wait.h"
#include "nccl4j_emulator.h"
#include "scoped_option.h"

namespace emu::test {

#define ASSERT_CUDA(call) ASSERT_EQ(cudaSuccess, (call))
#define EXPECT_CUDA(call) EXPECT_EQ(cudaSuccess, (call))

// Holds a stream back: a host function that waits until the gate is opened, for a minute at most.
class Gate {
 public:
  Gate() : state_(keep(std::make_shared<State>())) {}
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void put(cudaStream_t stream) { EXPECT_CUDA(cudaLaunchHostFunc(stream, &Gate::wait, state_.get())); }

  void open() {
    state_->open.store(true);
    state_->changed.notifyAll();
  }

 private:
  struct State {
    std::atomic<bool> open{false};
    EventCount changed{};
  };

  // A gate may end before its host functions have begun, so what they look at stays for ever.
  static std::shared_ptr<State> keep(std::shared_ptr<State> state) {
    static auto& all = *new std::vector<std::shared_ptr<State>>;
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    all.push_back(state);
    return state;
  }

  static void wait(void* data) {
    auto* state = static_cast<State*>(data);
    EXPECT_EQ(WaitEnd::Ready, waitUntil(state->changed, [state] { return state->open.load(); }, now() + 60'000'000'000));
  }

  const std::shared_ptr<State> state_;
};

// Leaves the devices as fresh as it found them.
class CudaTest : public ::testing::Test {
 protected:
  static constexpr int kDevices = 4;

  void SetUp() override { resetDevices(); }
  void TearDown() override {
    resetDevices();
    nccl4jEmuClearFaults();
    nccl4jEmuClearPresets();
  }

  // Whatever the environment says.
  const ScopedOption zeros_{"poison", "0"};

  static void resetDevices() {
    for (int device = kDevices - 1; device >= 0; --device) {
      EXPECT_CUDA(cudaSetDevice(device));
      EXPECT_CUDA(cudaDeviceReset());
    }
    cudaGetLastError();
  }

  static cudaStream_t makeStream(unsigned flags = cudaStreamNonBlocking) {
    cudaStream_t stream = nullptr;
    EXPECT_CUDA(cudaStreamCreateWithFlags(&stream, flags));
    return stream;
  }

  static cudaEvent_t makeEvent(unsigned flags = cudaEventDisableTiming) {
    cudaEvent_t event = nullptr;
    EXPECT_CUDA(cudaEventCreateWithFlags(&event, flags));
    return event;
  }

  template <class T>
  static T* makeDevice(size_t count) {
    void* pointer = nullptr;
    EXPECT_CUDA(cudaMalloc(&pointer, count * sizeof(T)));
    return static_cast<T*>(pointer);
  }

  static cudaStreamCaptureStatus captureStatus(cudaStream_t stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    EXPECT_CUDA(cudaStreamIsCapturing(stream, &status));
    return status;
  }

  // Captures what `body` does, from `stream` on.
  static cudaGraph_t capture(cudaStream_t stream, const std::function<void()>& body) {
    cudaGraph_t graph = nullptr;
    EXPECT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    body();
    EXPECT_CUDA(cudaStreamEndCapture(stream, &graph));
    return graph;
  }

  static cudaGraphExec_t instantiate(cudaGraph_t graph) {
    cudaGraphExec_t exec = nullptr;
    EXPECT_CUDA(cudaGraphInstantiate(&exec, graph, 0));
    return exec;
  }

  static std::string errorText(int device) {
    char text[1024];
    EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuErrorText(device, text, sizeof text));
    return text;
  }

  static nccl4jEmuUsage_t usage(int device) {
    nccl4jEmuUsage_t result;
    EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuUsage(device, &result));
    return result;
  }
};

// In another thread, with device 0 current.
inline void elsewhere(const std::function<void()>& body) {
  std::thread thread([&] {
    EXPECT_CUDA(cudaSetDevice(0));
    body();
  });
  thread.join();
}

}  // namespace emu::test
