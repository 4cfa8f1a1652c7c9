#include <filesystem>
#include <fstream>
#include <string>

#include "cuda_support.h"

namespace emu::test {
namespace {

class Streams : public CudaTest {
 protected:
  // Appends its number to a list when it runs.
  class Order {
   public:
    void put(cudaStream_t stream, int number) {
      auto* entry = new Entry{this, number};
      EXPECT_CUDA(cudaLaunchHostFunc(stream, &Order::run, entry));
    }
    std::vector<int> get() {
      const std::lock_guard<std::mutex> lock(mutex_);
      return numbers_;
    }

   private:
    struct Entry {
      Order* order;
      int number;
    };
    static void run(void* data) {
      auto* entry = static_cast<Entry*>(data);
      {
        const std::lock_guard<std::mutex> lock(entry->order->mutex_);
        entry->order->numbers_.push_back(entry->number);
      }
      delete entry;
    }
    std::mutex mutex_;
    std::vector<int> numbers_;
  };
};

TEST_F(Streams, RunInOrderAndApartFromEachOther) {
  const cudaStream_t a = makeStream();
  const cudaStream_t b = makeStream();
  Gate gate;
  gate.put(a);
  Order order;
  for (int i = 0; i < 5; ++i) order.put(a, i);
  order.put(b, 100);
  ASSERT_CUDA(cudaStreamSynchronize(b));
  EXPECT_EQ(std::vector<int>{100}, order.get());
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(a));
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(a));
  EXPECT_EQ((std::vector<int>{100, 0, 1, 2, 3, 4}), order.get());
  EXPECT_CUDA(cudaStreamQuery(a));
}

TEST_F(Streams, TheLegacyStreamWaitsForBlockingOnesAndTheyForIt) {
  const cudaStream_t blocking = makeStream(cudaStreamDefault);
  const cudaStream_t other = makeStream(cudaStreamDefault);
  const cudaStream_t free = makeStream(cudaStreamNonBlocking);
  Order order;
  Gate gate;
  gate.put(blocking);
  order.put(blocking, 1);
  order.put(nullptr, 2);           // behind 1
  order.put(other, 3);             // behind 2
  order.put(cudaStreamLegacy, 4);  // behind 3: the same stream as NULL
  order.put(free, 5);              // behind nothing
  ASSERT_CUDA(cudaStreamSynchronize(free));
  EXPECT_EQ(std::vector<int>{5}, order.get());
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(nullptr));
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  EXPECT_EQ((std::vector<int>{5, 1, 2, 3, 4}), order.get());
}

TEST_F(Streams, ThePerThreadStreamIsABlockingOneOfTheThread) {
  Order order;
  Gate gate;
  gate.put(cudaStreamPerThread);
  order.put(cudaStreamPerThread, 1);
  elsewhere([&] {
    order.put(cudaStreamPerThread, 2);
    EXPECT_CUDA(cudaStreamSynchronize(cudaStreamPerThread));
  });
  EXPECT_EQ(std::vector<int>{2}, order.get());
  order.put(nullptr, 3);
  EXPECT_EQ(cudaErrorNotReady, cudaStreamQuery(nullptr));
  gate.open();
  ASSERT_CUDA(cudaStreamSynchronize(nullptr));
  EXPECT_EQ((std::vector<int>{2, 1, 3}), order.get());
}

TEST_F(Streams, SynchronousCopiesGoThroughTheLegacyStream) {
  const cudaStream_t blocking = makeStream(cudaStreamDefault);
  auto* device = makeDevice<int>(1);
  Gate gate;
  gate.put(blocking);
  ASSERT_CUDA(cudaMemsetAsync(device, 0xFF, sizeof(int), blocking));
  std::thread opener([&] { gate.open(); });
  int value = 0;
  ASSERT_CUDA(cudaMemcpy(&value, device, sizeof value, cudaMemcpyDeviceToHost));
  opener.join();
  EXPECT_EQ(-1, value);
}

// Two threads mix the legacy stream and blocking ones at random; nothing may wait for itself.
TEST_F(Streams, LegacyOrderingNeverDeadlocks) {
  const cudaStream_t streams[3] = {nullptr, makeStream(cudaStreamDefault), makeStream(cudaStreamDefault)};
  auto* device = makeDevice<int>(3);  // one for each stream: between the two blocking ones there is no order
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      EXPECT_CUDA(cudaSetDevice(0));
      unsigned state = t + 1;
      for (int i = 0; i < 500; ++i) {
        state = state * 1664525 + 1013904223;
        const unsigned chosen = (state >> 16) % 3;
        EXPECT_CUDA(cudaMemsetAsync(device + chosen, i, 4, streams[chosen]));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_CUDA(cudaDeviceSynchronize());
}

TEST_F(Streams, SixtyFourWorkAtOnce) {
  constexpr int kStreams = 64;
  std::vector<cudaStream_t> streams;
  std::vector<int*> memory;
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(makeStream());
    memory.push_back(makeDevice<int>(16));
  }
  Gate gate;
  for (int i = 0; i < kStreams; ++i) {
    gate.put(streams[static_cast<size_t>(i)]);
    for (int k = 0; k <= i; ++k) {
      ASSERT_CUDA(cudaMemsetAsync(memory[static_cast<size_t>(i)], k, 64, streams[static_cast<size_t>(i)]));
    }
  }
  EXPECT_EQ(static_cast<uint64_t>(kStreams), usage(0).streams);
  gate.open();
  ASSERT_CUDA(cudaDeviceSynchronize());
  for (int i = 0; i < kStreams; ++i) {
    int value = -1;
    ASSERT_CUDA(cudaMemcpy(&value, memory[static_cast<size_t>(i)], 4, cudaMemcpyDeviceToHost));
    EXPECT_EQ(i * 0x01010101, value);
  }
}

TEST_F(Streams, CanBeDestroyedWhileWorkIsPending) {
  const cudaStream_t stream = makeStream();
  Order order;
  Gate gate;
  gate.put(stream);
  order.put(stream, 1);
  ASSERT_CUDA(cudaStreamDestroy(stream));
  EXPECT_EQ(0U, usage(0).streams);
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(stream));
  gate.open();
  ASSERT_CUDA(cudaDeviceSynchronize());  // also waits for streams that are destroyed
  EXPECT_EQ(std::vector<int>{1}, order.get());
}

TEST_F(Streams, BelongToADevice) {
  const cudaStream_t stream = makeStream();
  ASSERT_CUDA(cudaSetDevice(1));
  auto* pointer = makeDevice<char>(16);
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaMemsetAsync(pointer, 0, 16, stream));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaLaunchHostFunc(stream, [](void*) {}, nullptr));
  EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaEventRecord(makeEvent(), stream));
  int device = -1;
  EXPECT_CUDA(cudaStreamGetDevice(stream, &device));
  EXPECT_EQ(0, device);
  EXPECT_CUDA(cudaStreamGetDevice(nullptr, &device));
  EXPECT_EQ(1, device);
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_CUDA(cudaStreamQuery(stream));
}

TEST_F(Streams, WrongHandlesAreRefused) {
  const cudaStream_t stream = makeStream();
  ASSERT_CUDA(cudaStreamDestroy(stream));
  const cudaEvent_t event = makeEvent();
  int local = 0;
  const auto ofEvent = reinterpret_cast<cudaStream_t>(event);
  for (const cudaStream_t wrong : {stream, ofEvent, reinterpret_cast<cudaStream_t>(&local), reinterpret_cast<cudaStream_t>(3)}) {
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(wrong));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamQuery(wrong));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamDestroy(wrong));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamWaitEvent(wrong, event, 0));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamBeginCapture(wrong, cudaStreamCaptureModeGlobal));
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaLaunchHostFunc(wrong, [](void*) {}, nullptr));
  }
  for (const cudaStream_t standing : {cudaStream_t{nullptr}, cudaStreamLegacy, cudaStreamPerThread}) {
    EXPECT_EQ(cudaErrorInvalidResourceHandle, cudaStreamDestroy(standing));
  }
}

TEST_F(Streams, TellWhatTheyAre) {
  int least = -1;
  int greatest = 1;
  ASSERT_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  EXPECT_EQ(0, least);
  EXPECT_LT(greatest, 0);
  cudaStream_t stream = nullptr;
  ASSERT_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, -1000));
  int priority = 1;
  ASSERT_CUDA(cudaStreamGetPriority(stream, &priority));
  EXPECT_EQ(greatest, priority);
  unsigned flags = 9;
  ASSERT_CUDA(cudaStreamGetFlags(stream, &flags));
  EXPECT_EQ(static_cast<unsigned>(cudaStreamNonBlocking), flags);
  unsigned long long first = 0;
  unsigned long long second = 0;
  ASSERT_CUDA(cudaStreamGetId(stream, &first));
  ASSERT_CUDA(cudaStreamGetId(makeStream(), &second));
  EXPECT_NE(first, second);
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamCreateWithFlags(&stream, 2));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamCreate(nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaStreamGetFlags(stream, nullptr));
  EXPECT_EQ(cudaErrorInvalidValue, cudaLaunchHostFunc(stream, nullptr, nullptr));
}

// The worker threads of this process.
size_t workers() {
  size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.rfind("cuda", 0) == 0) ++count;
  }
  return count;
}

TEST_F(Streams, OfEndedThreadsGoAway) {
  constexpr int kThreads = 50;
  const size_t before = workers();
  auto* pointer = makeDevice<unsigned char>(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    elsewhere([&] { EXPECT_CUDA(cudaMemsetAsync(pointer + i, i, 1, cudaStreamPerThread)); });
  }
  EXPECT_CUDA(cudaDeviceSynchronize());
  unsigned char values[kThreads];
  ASSERT_CUDA(cudaMemcpy(values, pointer, kThreads, cudaMemcpyDeviceToHost));
  for (int i = 0; i < kThreads; ++i) EXPECT_EQ(i, values[i]);
  // One more stays: that of the legacy stream.
  EventCount changed{};
  EXPECT_EQ(WaitEnd::Ready, waitUntil(changed, [&] { return workers() <= before + 1; }, now() + 60'000'000'000)) << workers();
}

}  // namespace
}  // namespace emu::test
