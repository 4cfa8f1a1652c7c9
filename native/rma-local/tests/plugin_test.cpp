// Plays NCCL's part for ranks that are threads: loads the plugin as NCCL does, and looks at the bytes that arrive.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../src/rma_abi.h"
#include "abi/cuda_runtime.h"
#include "abi/nccl.h"

namespace {

namespace abi = rma_local::abi;
using abi::Result;

std::string besideThisProgram(const std::string& file) {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  const std::string program(path, static_cast<std::size_t>(length));
  return program.substr(0, program.rfind('/')) + "/rma-local/" + file;
}

// Open as long as it lives.
class Library {
 public:
  explicit Library(const std::string& file) : handle_(dlopen(besideThisProgram(file).c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
  }
  ~Library() { dlclose(handle_); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  void* find(const char* name) const { return dlsym(handle_, name); }

 private:
  void* const handle_;
};

void onRanks(int ranks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; rank++) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

using AddressBytes = std::vector<char>;

// Memory that all ranks register, on the device of each.
struct Window {
  std::vector<char*> memory;
  std::vector<void*> registrations;
};

class RmaLocal : public testing::Test {
 protected:
  static constexpr int kRanks = 3;
  static constexpr std::size_t kBytes = std::size_t{9} << 20;

  RmaLocal() { open(); }
  ~RmaLocal() override {
    if (!collectives_.empty()) close();
  }

  const abi::Plugin& plugin() const { return *plugin_; }

  void open() {
    library_ = std::make_unique<Library>("libnccl4j_rma_local.so");
    plugin_ = static_cast<const abi::Plugin*>(library_->find("ncclRmaPlugin_v14"));
  }

  std::vector<AddressBytes> listen(int ranks, std::vector<void*>& listeners) {
    std::vector<AddressBytes> addresses(static_cast<std::size_t>(ranks), AddressBytes(abi::addressBytes));
    listeners.resize(addresses.size());
    for (std::size_t r = 0; r < addresses.size(); r++) {
      EXPECT_EQ(Result::Success, plugin().listen(nullptr, 0, addresses[r].data(), &listeners[r]));
    }
    return addresses;
  }

  static std::vector<void*> pointers(std::vector<AddressBytes>& addresses) {
    std::vector<void*> all;
    for (AddressBytes& address : addresses) all.push_back(address.data());
    return all;
  }

  // Rank r has device r.
  void connect(int ranks, int queues = 1, int stride = 1) {
    std::vector<void*> listeners;
    std::vector<AddressBytes> addresses = listen(ranks, listeners);
    collectives_.resize(addresses.size());
    contexts_.resize(addresses.size());
    onRanks(ranks, [&](int rank) {
      const auto r = static_cast<std::size_t>(rank);
      std::vector<void*> all = pointers(addresses);
      ASSERT_EQ(Result::Success,
                plugin().connect(nullptr, all.data(), ranks, rank, listeners[r], &collectives_[r]));
      ASSERT_EQ(Result::Success, plugin().closeListener(listeners[r]));
      const abi::ContextConfig config{queues, -1, stride};
      ASSERT_EQ(Result::Success, plugin().createContext(collectives_[r], &config, &contexts_[r]));
    });
  }

  void close() {
    for (void* context : contexts_) EXPECT_EQ(Result::Success, plugin().destroyContext(context));
    for (void* collective : collectives_) EXPECT_EQ(Result::Success, plugin().closeCollective(collective));
    contexts_.clear();
    collectives_.clear();
  }

  Window window(std::size_t bytes, int kind = abi::deviceMemory) {
    const std::size_t ranks = collectives_.size();
    Window made{std::vector<char*>(ranks), std::vector<void*>(ranks)};
    onRanks(static_cast<int>(ranks), [&](int rank) {
      const auto r = static_cast<std::size_t>(rank);
      if (kind == abi::hostMemory) {
        made.memory[r] = new char[bytes]();
      } else {
        ASSERT_EQ(cudaSuccess, cudaSetDevice(rank));
        ASSERT_EQ(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&made.memory[r]), bytes));
        ASSERT_EQ(cudaSuccess, cudaMemset(made.memory[r], 0, bytes));
        ASSERT_EQ(cudaSuccess, cudaDeviceSynchronize());
      }
      ASSERT_EQ(Result::Success, plugin().registerMemory(collectives_[r], made.memory[r], bytes, kind, 0,
                                                         &made.registrations[r]));
    });
    return made;
  }

  void end(Window& made, bool onDevice = true) {
    for (std::size_t r = 0; r < made.memory.size(); r++) {
      EXPECT_EQ(Result::Success, plugin().deregister(collectives_[r], made.registrations[r]));
      if (onDevice) EXPECT_EQ(cudaSuccess, cudaFree(made.memory[r]));
      else delete[] made.memory[r];
    }
  }

  Result await(int rank, void* request) {
    int done = 0;
    Result result = Result::Success;
    while (done == 0 && result == Result::Success) {
      result = plugin().test(collectives_[static_cast<std::size_t>(rank)], request, &done);
      std::this_thread::yield();
    }
    return result;
  }

  void* context(int rank) const { return contexts_[static_cast<std::size_t>(rank)]; }

  static void* of(const Window& made, int rank) { return made.registrations[static_cast<std::size_t>(rank)]; }

  template <typename Value>
  static Value valueAt(const Window& made, int rank, std::size_t offset) {
    Value value{};
    EXPECT_EQ(cudaSuccess, cudaMemcpy(&value, made.memory[static_cast<std::size_t>(rank)] + offset, sizeof value,
                                      cudaMemcpyDeviceToHost));
    return value;
  }

  std::unique_ptr<Library> library_;
  const abi::Plugin* plugin_ = nullptr;
  std::vector<void*> collectives_;
  std::vector<void*> contexts_;
};

char patternOf(int rank, std::size_t i) {
  return static_cast<char>(static_cast<std::size_t>(rank) * 31 + i * 7 + i / 251);
}

TEST_F(RmaLocal, OffersOneProxyDevice) {
  int devices = 0;
  EXPECT_EQ(Result::Success, plugin().devices(&devices));
  EXPECT_EQ(1, devices);
  abi::DeviceProperties properties{};
  EXPECT_EQ(Result::Success, plugin().getProperties(0, &properties));
  EXPECT_EQ(abi::proxyDevice, properties.deviceType);
  EXPECT_EQ(abi::hostMemory | abi::deviceMemory, properties.memoryKinds);
  EXPECT_EQ(Result::InvalidArgument, plugin().getProperties(1, &properties));
  void* instance = nullptr;
  EXPECT_EQ(Result::Success, plugin().init(&instance, 1, nullptr));
  EXPECT_EQ(Result::Success, plugin().finalize(instance));
}

// Larger than the pieces that a copy goes through.
TEST_F(RmaLocal, PutsAndGetsTheBytes) {
  connect(kRanks);
  Window sent = window(kBytes);
  Window received = window(kBytes * kRanks);
  for (int rank = 0; rank < kRanks; rank++) {
    std::vector<char> bytes(kBytes);
    for (std::size_t i = 0; i < kBytes; i++) bytes[i] = patternOf(rank, i);
    ASSERT_EQ(cudaSuccess, cudaMemcpy(sent.memory[static_cast<std::size_t>(rank)], bytes.data(), kBytes,
                                      cudaMemcpyHostToDevice));
  }
  onRanks(kRanks, [&](int rank) {
    for (int peer = 0; peer < kRanks; peer++) {
      void* request = nullptr;
      ASSERT_EQ(Result::Success, plugin().put(context(rank), 0, 3, of(sent, rank), kBytes - 3,
                                              static_cast<std::size_t>(rank) * kBytes, of(received, rank),
                                              static_cast<std::uint32_t>(peer), &request));
      EXPECT_EQ(Result::Success, await(rank, request));
    }
  });
  for (int rank = 0; rank < kRanks; rank++) {
    std::vector<char> bytes(kBytes * kRanks);
    ASSERT_EQ(cudaSuccess, cudaMemcpy(bytes.data(), received.memory[static_cast<std::size_t>(rank)], bytes.size(),
                                      cudaMemcpyDeviceToHost));
    std::size_t wrong = 0;
    for (int from = 0; from < kRanks; from++) {
      for (std::size_t i = 0; i + 3 < kBytes; i++) {
        wrong += bytes[static_cast<std::size_t>(from) * kBytes + i] != patternOf(from, i + 3);
      }
    }
    EXPECT_EQ(0U, wrong) << "rank " << rank;
  }
  // What rank 2 received from rank 1, back to the beginning of rank 0's memory.
  void* request = nullptr;
  ASSERT_EQ(Result::Success,
            plugin().get(context(0), 0, kBytes, of(received, 0), 16, 0, of(received, 0), 2, &request));
  EXPECT_EQ(Result::Success, await(0, request));
  EXPECT_EQ(patternOf(1, 3 + 15), valueAt<char>(received, 0, 15));
  end(sent);
  end(received);
}

// As NCCL's inline values: 8 bytes of host memory, with a signal.
TEST_F(RmaLocal, PutsValuesOfHostMemory) {
  connect(2);
  Window values = window(64, abi::hostMemory);
  Window received = window(4096);
  Window signals = window(64);
  const std::uint64_t value = 0x0123456789abcdef;
  std::memcpy(values.memory[0] + 8, &value, sizeof value);
  void* request = nullptr;
  ASSERT_EQ(Result::Success, plugin().putSignal(context(0), 0, 8, of(values, 0), 8, 24, of(received, 0), 1, 16,
                                                of(signals, 0), 5, abi::signalAdd, false, &request));
  EXPECT_EQ(Result::Success, await(0, request));
  EXPECT_EQ(value, valueAt<std::uint64_t>(received, 1, 24));
  EXPECT_EQ(5U, valueAt<std::uint64_t>(signals, 1, 16));
  end(values, false);
  end(received);
  end(signals);
}

TEST_F(RmaLocal, AddsUpSignalsOfAllRanks) {
  constexpr int kEach = 50;
  connect(kRanks, 4);
  Window signals = window(64);
  onRanks(kRanks, [&](int rank) {
    std::vector<void*> requests(kEach * 2);
    for (std::size_t i = 0; i < requests.size(); i += 2) {
      // NCCL leaves out the memory of a signal that comes alone.
      ASSERT_EQ(Result::Success, plugin().putSignal(context(rank), static_cast<int>(i % 4), 0, nullptr, 0, 0, nullptr,
                                                    0, 8, of(signals, rank), 10, abi::signalAdd, true, &requests[i]));
      ASSERT_EQ(Result::Success, plugin().putSignal(context(rank), 1, 0, nullptr, 0, 0, nullptr, 0, 8,
                                                    of(signals, rank), 99, abi::signalIncrement, true,
                                                    &requests[i + 1]));
    }
    for (void* request : requests) EXPECT_EQ(Result::Success, await(rank, request));
  });
  EXPECT_EQ(0U, valueAt<std::uint64_t>(signals, 0, 0));
  EXPECT_EQ(std::uint64_t{kRanks * kEach * 11}, valueAt<std::uint64_t>(signals, 0, 8));
  EXPECT_EQ(0U, valueAt<std::uint64_t>(signals, 1, 8));
  end(signals);
}

// Whoever sees a signal sees all that was put before it; read by the receiver while the sender goes on.
TEST_F(RmaLocal, SignalsAfterAllPutsBefore) {
  constexpr std::uint64_t kSteps = 100;
  constexpr std::size_t kPuts = 5;
  connect(2);
  Window sent = window(kSteps * kPuts * 8);
  Window received = window(kSteps * kPuts * 8);
  Window signals = window(64);
  std::vector<std::uint64_t> values(kSteps * kPuts);
  for (std::size_t i = 0; i < values.size(); i++) values[i] = i + 1;
  ASSERT_EQ(cudaSuccess, cudaMemcpy(sent.memory[0], values.data(), values.size() * 8, cudaMemcpyHostToDevice));
  std::thread sender([&] {
    std::vector<void*> requests;
    for (std::size_t step = 0; step < kSteps; step++) {
      for (std::size_t i = step * kPuts; i < (step + 1) * kPuts; i++) {
        requests.emplace_back();
        ASSERT_EQ(Result::Success, plugin().put(context(0), 0, i * 8, of(sent, 0), 8, i * 8, of(received, 0), 1,
                                                &requests.back()));
      }
      requests.emplace_back();
      ASSERT_EQ(Result::Success, plugin().putSignal(context(0), 0, 0, nullptr, 0, 0, nullptr, 1, 0, of(signals, 0), 0,
                                                    abi::signalIncrement, true, &requests.back()));
    }
    requests.emplace_back();
    ASSERT_EQ(Result::Success, plugin().flush(context(0), 0, of(received, 0), 1, &requests.back()));
    for (void* request : requests) EXPECT_EQ(Result::Success, await(0, request));
  });
  ASSERT_EQ(cudaSuccess, cudaSetDevice(1));
  std::uint64_t seen = 0;
  while (seen < kSteps) {
    seen = valueAt<std::uint64_t>(signals, 1, 0);
    if (seen > 0) {
      ASSERT_EQ(seen * kPuts, valueAt<std::uint64_t>(received, 1, (seen * kPuts - 1) * 8));
    }
  }
  sender.join();
  end(sent);
  end(received);
  end(signals);
}

TEST_F(RmaLocal, EndsOperationsOfAContextThatIsDestroyed) {
  connect(2);
  Window sent = window(kBytes);
  Window received = window(kBytes);
  ASSERT_EQ(cudaSuccess, cudaMemset(sent.memory[0], 7, kBytes));
  ASSERT_EQ(cudaSuccess, cudaDeviceSynchronize());
  for (int i = 0; i < 4; i++) {
    void* request = nullptr;
    ASSERT_EQ(Result::Success, plugin().put(context(0), 0, 0, of(sent, 0), kBytes, 0, of(received, 0), 1, &request));
  }
  EXPECT_EQ(Result::Success, plugin().destroyContext(context(0)));
  EXPECT_EQ(7, valueAt<char>(received, 1, kBytes - 1));
  const abi::ContextConfig config{1, -1, 1};
  ASSERT_EQ(Result::Success, plugin().createContext(collectives_[0], &config, &contexts_[0]));
  end(sent);
  end(received);
}

TEST_F(RmaLocal, RefusesWhatIsNotThere) {
  connect(4, 2, 2);
  Window memory = window(4096);
  void* request = nullptr;
  const auto put = [&](int queue, std::uint64_t from, std::size_t size, std::uint64_t to, std::uint32_t rank) {
    return plugin().put(context(0), queue, from, of(memory, 0), size, to, of(memory, 0), rank, &request);
  };
  EXPECT_EQ(Result::InvalidArgument, put(2, 0, 8, 0, 2)) << "no such queue";
  EXPECT_EQ(Result::InvalidArgument, put(0, 0, 8, 0, 4)) << "no such rank";
  EXPECT_EQ(Result::InvalidArgument, put(0, 0, 8, 0, 1)) << "not of this rail";
  EXPECT_EQ(Result::InvalidArgument, put(0, 4090, 8, 0, 2));
  EXPECT_EQ(Result::InvalidArgument, put(0, 0, 8, 4090, 2));
  EXPECT_EQ(Result::InvalidArgument, put(0, 0, 8, ~std::uint64_t{0}, 2));
  EXPECT_EQ(Result::InvalidArgument, plugin().putSignal(context(0), 0, 0, nullptr, 0, 0, nullptr, 2, 4,
                                                        of(memory, 0), 1, abi::signalAdd, true, &request));
  EXPECT_EQ(Result::InvalidArgument,
            plugin().putSignal(context(0), 0, 0, nullptr, 0, 0, nullptr, 2, 0, of(memory, 0), 1, 4, true, &request));
  EXPECT_EQ(Result::Success, put(1, 0, 8, 4088, 2));
  EXPECT_EQ(Result::Success, await(0, request));
  const abi::ContextConfig uneven{1, -1, 3};
  void* context = nullptr;
  EXPECT_EQ(Result::InvalidArgument, plugin().createContext(collectives_[0], &uneven, &context));
  end(memory);
}

// The signal is not given: it would tell of bytes that have not come.
TEST_F(RmaLocal, DoesNothingMoreAfterAnError) {
  connect(2);
  Window memory = window(4096);
  Window signals = window(64);
  EXPECT_EQ(Result::Success, plugin().deregister(collectives_[1], memory.registrations[1]));
  void* request = nullptr;
  ASSERT_EQ(Result::Success, plugin().putSignal(context(0), 0, 0, of(memory, 0), 8, 0, of(memory, 0), 1, 0,
                                                of(signals, 0), 1, abi::signalAdd, true, &request));
  EXPECT_EQ(Result::SystemError, await(0, request));
  bool failed = false;
  EXPECT_EQ(Result::Success, plugin().lastError(context(0), &failed));
  EXPECT_TRUE(failed);
  EXPECT_EQ(Result::Success, plugin().lastError(context(1), &failed));
  EXPECT_FALSE(failed);
  EXPECT_EQ(0U, valueAt<std::uint64_t>(signals, 1, 0));
  EXPECT_EQ(Result::Success, plugin().deregister(collectives_[0], memory.registrations[0]));
  for (char* part : memory.memory) EXPECT_EQ(cudaSuccess, cudaFree(part));
  end(signals);
}

TEST_F(RmaLocal, RefusesRanksOfAnotherProcess) {
  std::vector<void*> listeners;
  std::vector<AddressBytes> addresses = listen(2, listeners);
  addresses[1][0] ^= 1;
  std::vector<void*> all = pointers(addresses);
  void* collective = nullptr;
  EXPECT_EQ(Result::InvalidUsage, plugin().connect(nullptr, all.data(), 2, 0, listeners[0], &collective));
  for (void* listener : listeners) EXPECT_EQ(Result::Success, plugin().closeListener(listener));
}

TEST_F(RmaLocal, DoesNotWaitForEver) {
  setenv("NCCL4J_RMA_LOCAL_LIMIT_SECONDS", "1", 1);
  std::vector<void*> listeners;
  std::vector<AddressBytes> addresses = listen(2, listeners);
  std::vector<void*> all = pointers(addresses);
  void* collective = nullptr;
  EXPECT_EQ(Result::SystemError, plugin().connect(nullptr, all.data(), 2, 0, listeners[0], &collective));
  for (void* listener : listeners) EXPECT_EQ(Result::Success, plugin().closeListener(listener));
  unsetenv("NCCL4J_RMA_LOCAL_LIMIT_SECONDS");
}

// A rank that cannot register keeps nobody waiting.
TEST_F(RmaLocal, TellsTheOthersOfARankThatFails) {
  connect(2);
  std::vector<char> notOfADevice(64);
  onRanks(2, [&](int rank) {
    char* memory = notOfADevice.data();
    if (rank == 1) {
      ASSERT_EQ(cudaSuccess, cudaSetDevice(1));
      ASSERT_EQ(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&memory), 64));
    }
    void* registration = nullptr;
    EXPECT_NE(Result::Success, plugin().registerMemory(collectives_[static_cast<std::size_t>(rank)], memory, 64,
                                                       abi::deviceMemory, 0, &registration));
    if (rank == 1) {
      EXPECT_EQ(cudaSuccess, cudaFree(memory));
    }
  });
}

// NCCL closes the library with the last communicator and opens it with the next.
TEST_F(RmaLocal, IsClosedAndOpenedBetweenCommunicators) {
  const std::string file = besideThisProgram("libnccl4j_rma_local.so");
  for (int i = 0; i < 3; i++) {
    connect(2);
    Window signals = window(64);
    void* request = nullptr;
    ASSERT_EQ(Result::Success, plugin().putSignal(context(1), 0, 0, nullptr, 0, 0, nullptr, 0, 0, of(signals, 1), 3,
                                                  abi::signalAdd, true, &request));
    EXPECT_EQ(Result::Success, await(1, request));
    EXPECT_EQ(3U, valueAt<std::uint64_t>(signals, 0, 0));
    end(signals);
    close();
    library_.reset();
    EXPECT_EQ(nullptr, dlopen(file.c_str(), RTLD_NOW | RTLD_NOLOAD));
    open();
  }
}

using HostName = int (*)(char* name, std::size_t size);

// The host name that a thread of this name is told: by a call from here, or from a library with the name of NCCL EP.
std::string hostName(const std::string& threadName, bool fromNcclEp) {
  const Library names("libnccl4j_one_host.so");
  const Library caller("libnccl_ep_caller.so");
  const auto hostNameOf = reinterpret_cast<HostName>(names.find("gethostname"));
  const auto call = reinterpret_cast<int (*)(HostName, char*, std::size_t)>(caller.find("callHostName"));
  std::string result;
  std::thread([&] {
    char name[256] = "";
    EXPECT_EQ(0, pthread_setname_np(pthread_self(), threadName.c_str()));
    EXPECT_EQ(0, fromNcclEp ? call(hostNameOf, name, sizeof name) : hostNameOf(name, sizeof name));
    result = name;
  }).join();
  return result;
}

TEST(OneHost, NamesDifferByTeamWhereNcclEpAsks) {
  char real[256] = "";
  ASSERT_EQ(0, gethostname(real, sizeof real));
  setenv("NCCL_LSA_TEAM_SIZE", "2", 1);
  EXPECT_EQ(std::string(real) + "-team-0", hostName("rank-1", true));
  EXPECT_EQ(std::string(real) + "-team-1", hostName("rank-2", true));
  EXPECT_EQ(real, hostName("rank-2", false));
  EXPECT_EQ(real, hostName("main", true));
  const Library names("libnccl4j_one_host.so");
  const auto hostOf = reinterpret_cast<int (*)(int, int*)>(names.find("nccl4jEmuHostOf"));
  int host = -1;
  std::thread([&] {
    EXPECT_EQ(0, pthread_setname_np(pthread_self(), "rank-5"));
    EXPECT_EQ(0, hostOf(0, &host));
  }).join();
  EXPECT_EQ(2, host);
  unsetenv("NCCL_LSA_TEAM_SIZE");
  EXPECT_EQ(real, hostName("rank-2", true));
}

TEST(OneHost, NamesAreCutAsTheRealOnes) {
  const Library names("libnccl4j_one_host.so");
  const auto hostNameOf = reinterpret_cast<HostName>(names.find("gethostname"));
  char name[1] = "";
  EXPECT_EQ(-1, hostNameOf(name, sizeof name));
  EXPECT_EQ(ENAMETOOLONG, errno);
}

// A rank comes to no collective of NCCL EP before all have, where devices are shared.
TEST(OneHost, RanksMeetBeforeCollectivesOfNcclEp) {
  constexpr int kTimes = 20;
  const Library before("libnccl4j_one_host.so");
  const Library caller("libnccl_ep_caller.so");
  void* const allReduce = before.find("ncclAllReduce");
  const auto call = reinterpret_cast<int (*)(void*, void*, int*, void*, void*)>(caller.find("callAllReduce"));
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
  ncclUniqueId id;
  ASSERT_EQ(ncclSuccess, ncclGetUniqueId(&id));
  std::atomic<int> begun{0};
  onRanks(2, [&](int rank) {
    ncclComm_t communicator = nullptr;
    int* value = nullptr;
    ASSERT_EQ(cudaSuccess, cudaSetDevice(rank));
    ASSERT_EQ(ncclSuccess, ncclCommInitRank(&communicator, 2, id, rank));
    ASSERT_EQ(cudaSuccess, cudaMalloc(reinterpret_cast<void**>(&value), 64));
    const int one = 1;
    ASSERT_EQ(cudaSuccess, cudaMemcpy(value, &one, sizeof one, cudaMemcpyHostToDevice));
    int calls = 0;
    for (int i = 0; i < kTimes; i++) {
      begun++;
      ASSERT_EQ(0, call(allReduce, value, &calls, communicator, nullptr));
      ASSERT_GE(begun.load(), 2 * (i + 1));
    }
    int sum = 0;
    ASSERT_EQ(cudaSuccess, cudaMemcpy(&sum, value, sizeof sum, cudaMemcpyDeviceToHost));
    EXPECT_EQ(1 << kTimes, sum);
    EXPECT_EQ(kTimes, calls);
    ASSERT_EQ(cudaSuccess, cudaFree(value));
    ASSERT_EQ(ncclSuccess, ncclCommDestroy(communicator));
  });
  unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
}

}  // namespace
