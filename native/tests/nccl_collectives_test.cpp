// Every collective with every type and reduction against the reference.
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <ostream>
#include <tuple>

#include "nccl_harness.h"
#include "nccl_reference.h"

namespace nccl_test {
namespace {

constexpr uint64_t kSeed = 20240607;

// Device memory of bytes, filled with 0xee where nothing was written.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t bytes) : buffer_(Bytes(bytes == 0 ? 1 : bytes, 0xee)), bytes_(bytes) {}
  explicit DeviceBytes(const Bytes& content) : DeviceBytes(content.size()) {
    if (!content.empty()) buffer_.write(content);
  }
  unsigned char* data() const { return buffer_.data(); }
  Bytes read() const {
    Bytes all = buffer_.read();
    all.resize(bytes_);
    return all;
  }

 private:
  Buffer<unsigned char> buffer_;
  const size_t bytes_;
};

Bytes slice(const Bytes& bytes, size_t index, size_t size) {
  const auto start = bytes.begin() + static_cast<std::ptrdiff_t>(index * size);
  return Bytes(start, start + static_cast<std::ptrdiff_t>(size));
}

Bytes concatenation(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void expectElements(ncclDataType_t type, const Bytes& expected, const Bytes& actual, const std::string& what) {
  ASSERT_EQ(expected.size(), actual.size()) << what;
  for (size_t i = 0; i < expected.size() / bytesOf(type); ++i) {
    ASSERT_EQ(0, memcmp(expected.data() + i * bytesOf(type), actual.data() + i * bytesOf(type), bytesOf(type)))
        << what << ", element " << i << ": expected " << show(type, expected, i) << ", got " << show(type, actual, i);
  }
}

// What all ranks ask for is made once.
template <class Key, class Value, class Make>
const Value& once(const Key& key, Make make) {
  static std::mutex mutex;
  static std::map<Key, Value> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(key);
  return found != known.end() ? found->second : known.emplace(key, make()).first->second;
}

using InputKey = std::tuple<int, ncclDataType_t, size_t, uint64_t>;

// Random input for every rank: inputs(...)[rank].
const std::vector<Bytes>& inputs(int ranks, ncclDataType_t type, size_t count, uint64_t salt) {
  return once<InputKey, std::vector<Bytes>>({ranks, type, count, salt}, [&] {
    std::vector<Bytes> parts;
    std::mt19937_64 random(kSeed + salt);
    for (int rank = 0; rank < ranks; ++rank) parts.push_back(randomElements(type, count, random));
    return parts;
  });
}

// The inputs reduced.
const Bytes& reduced(int ranks, ncclDataType_t type, size_t count, uint64_t salt, ncclRedOp_t op) {
  using Key = std::tuple<InputKey, ncclRedOp_t>;
  return once<Key, Bytes>({{ranks, type, count, salt}, op},
                          [&] { return reduceAll(type, op, inputs(ranks, type, count, salt)); });
}

struct Case {
  int ranks;
  size_t count;
  std::vector<ncclDataType_t> types{std::begin(kAllTypes), std::end(kAllTypes)};
};

void PrintTo(const Case& chosen, std::ostream* out) { *out << chosen.ranks << " ranks, " << chosen.count << " elements"; }

class NcclCollectives : public ::testing::TestWithParam<Case> {
 protected:
  // Runs `body` for every type of the case on all ranks.
  void forEveryType(const std::function<void(Rank&, ncclDataType_t, size_t)>& body) {
    const Case chosen = GetParam();
    asThreads(chosen.ranks, [&](Rank& self) {
      for (const ncclDataType_t type : chosen.types) body(self, type, chosen.count);
    });
  }
};

// Runs one collective with separate buffers and checks what every rank received; empty expectation = untouched.
void check(Rank& self, ncclDataType_t type, const Bytes& sent, size_t received, const Bytes& expected, const char* what,
           const std::function<ncclResult_t(const void*, void*)>& call) {
  DeviceBytes send(sent);
  DeviceBytes recv(received);
  EXPECT_NCCL(ncclSuccess, call(send.data(), recv.data()));
  EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
  expectElements(type, expected.empty() ? Bytes(received, 0xee) : expected, recv.read(),
                 std::string(what) + ", type " + std::to_string(type) + ", rank " + std::to_string(self.rank));
  expectElements(type, sent, send.read(), "the input");
}

TEST_P(NcclCollectives, AllGather) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    const auto& parts = inputs(self.size, type, count, 1);
    const Bytes expected = concatenation(parts);
    const Bytes& mine = parts[static_cast<size_t>(self.rank)];
    check(self, type, mine, expected.size(), expected, "AllGather", [&](const void* send, void* recv) {
      return ncclAllGather(send, recv, count, type, self.comm, self.stream);
    });
    // In place.
    DeviceBytes all(expected.size());
    unsigned char* own = all.data() + static_cast<size_t>(self.rank) * mine.size();
    ASSERT_CUDA(cudaSuccess, cudaMemcpy(own, mine.data(), mine.size(), cudaMemcpyHostToDevice));
    EXPECT_NCCL(ncclSuccess, ncclAllGather(own, all.data(), count, type, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    expectElements(type, expected, all.read(), "AllGather in place");
  });
}

TEST_P(NcclCollectives, AllReduce) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    for (const ncclRedOp_t op : kAllReductions) {
      const auto& parts = inputs(self.size, type, count, 2);
      const Bytes& expected = reduced(self.size, type, count, 2, op);
      const Bytes& mine = parts[static_cast<size_t>(self.rank)];
      const std::string what = "AllReduce " + std::to_string(op);
      check(self, type, mine, expected.size(), expected, what.c_str(), [&](const void* send, void* recv) {
        return ncclAllReduce(send, recv, count, type, op, self.comm, self.stream);
      });
      DeviceBytes both(mine);
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(both.data(), both.data(), count, type, op, self.comm, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      expectElements(type, expected, both.read(), what + " in place");
    }
  });
}

TEST_P(NcclCollectives, ReduceToEveryRoot) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    const int root = static_cast<int>(type) % self.size;
    for (const ncclRedOp_t op : kAllReductions) {
      const auto& parts = inputs(self.size, type, count, 10);
      const Bytes& expected = reduced(self.size, type, count, 10, op);
      check(self, type, parts[static_cast<size_t>(self.rank)], expected.size(), self.rank == root ? expected : Bytes(), "Reduce",
            [&](const void* send, void* recv) {
              return ncclReduce(send, self.rank == root ? recv : nullptr, count, type, op, root, self.comm, self.stream);
            });
    }
  });
}

TEST_P(NcclCollectives, ReduceScatter) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    for (const ncclRedOp_t op : kAllReductions) {
      const size_t all = count * static_cast<size_t>(self.size);
      const auto& parts = inputs(self.size, type, all, 20);
      const size_t bytes = count * bytesOf(type);
      const Bytes expected = slice(reduced(self.size, type, all, 20, op), static_cast<size_t>(self.rank), bytes);
      const Bytes& mine = parts[static_cast<size_t>(self.rank)];
      check(self, type, mine, bytes, expected, "ReduceScatter", [&](const void* send, void* recv) {
        return ncclReduceScatter(send, recv, count, type, op, self.comm, self.stream);
      });
      DeviceBytes both(mine);
      unsigned char* own = both.data() + static_cast<size_t>(self.rank) * bytes;
      EXPECT_NCCL(ncclSuccess, ncclReduceScatter(both.data(), own, count, type, op, self.comm, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      expectElements(type, expected, slice(both.read(), static_cast<size_t>(self.rank), bytes), "ReduceScatter in place");
    }
  });
}

TEST_P(NcclCollectives, BroadcastFromEveryRoot) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    for (int root = 0; root < std::min(self.size, 3); ++root) {
      const auto& parts = inputs(self.size, type, count, 30 + static_cast<uint64_t>(root));
      const Bytes& expected = parts[static_cast<size_t>(root)];
      check(self, type, parts[static_cast<size_t>(self.rank)], expected.size(), expected, "Broadcast",
            [&](const void* send, void* recv) {
              return ncclBroadcast(self.rank == root ? send : nullptr, recv, count, type, root, self.comm, self.stream);
            });
      DeviceBytes both(parts[static_cast<size_t>(self.rank)]);
      EXPECT_NCCL(ncclSuccess, ncclBcast(both.data(), count, type, root, self.comm, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      expectElements(type, expected, both.read(), "Bcast");
    }
  });
}

TEST_P(NcclCollectives, AlltoAll) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    const auto& parts = inputs(self.size, type, count * static_cast<size_t>(self.size), 40);
    const size_t bytes = count * bytesOf(type);
    Bytes expected;
    for (const Bytes& part : parts) {
      const Bytes block = slice(part, static_cast<size_t>(self.rank), bytes);
      expected.insert(expected.end(), block.begin(), block.end());
    }
    check(self, type, parts[static_cast<size_t>(self.rank)], expected.size(), expected, "AlltoAll",
          [&](const void* send, void* recv) { return ncclAlltoAll(send, recv, count, type, self.comm, self.stream); });
  });
}

TEST_P(NcclCollectives, GatherAndScatter) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    const int root = (static_cast<int>(type) + 1) % self.size;
    const size_t bytes = count * bytesOf(type);
    const auto& parts = inputs(self.size, type, count, 50);
    const Bytes all = concatenation(parts);
    const Bytes& mine = parts[static_cast<size_t>(self.rank)];
    check(self, type, mine, all.size(), self.rank == root ? all : Bytes(), "Gather", [&](const void* send, void* recv) {
      return ncclGather(send, self.rank == root ? recv : nullptr, count, type, root, self.comm, self.stream);
    });
    check(self, type, all, bytes, mine, "Scatter", [&](const void* send, void* recv) {
      return ncclScatter(self.rank == root ? send : nullptr, recv, count, type, root, self.comm, self.stream);
    });
    // In place at the root.
    DeviceBytes gathered(all.size());
    unsigned char* own = gathered.data() + static_cast<size_t>(self.rank) * bytes;
    ASSERT_CUDA(cudaSuccess, cudaMemcpy(own, mine.data(), mine.size(), cudaMemcpyHostToDevice));
    EXPECT_NCCL(ncclSuccess, ncclGather(own, gathered.data(), count, type, root, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    if (self.rank == root) expectElements(type, all, gathered.read(), "Gather in place");
    DeviceBytes scattered(all);
    own = scattered.data() + static_cast<size_t>(self.rank) * bytes;
    EXPECT_NCCL(ncclSuccess, ncclScatter(scattered.data(), own, count, type, root, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    expectElements(type, all, scattered.read(), "Scatter in place");
  });
}

TEST_P(NcclCollectives, PreMulSumWithBothResidences) {
  forEveryType([](Rank& self, ncclDataType_t type, size_t count) {
    const auto& parts = inputs(self.size, type, count, 60);
    const auto& factors = inputs(self.size, type, 1, 61);
    std::vector<Bytes> scaled;
    for (size_t rank = 0; rank < parts.size(); ++rank) scaled.push_back(scaleAll(type, parts[rank], factors[rank].data()));
    const Bytes expected = reduceAll(type, ncclSum, scaled);
    Bytes factor = factors[static_cast<size_t>(self.rank)];
    DeviceBytes deviceFactor(factor);
    ncclRedOp_t immediate;
    ncclRedOp_t onDevice;
    ASSERT_NCCL(ncclSuccess, ncclRedOpCreatePreMulSum(&immediate, factor.data(), type, ncclScalarHostImmediate, self.comm));
    ASSERT_NCCL(ncclSuccess, ncclRedOpCreatePreMulSum(&onDevice, deviceFactor.data(), type, ncclScalarDevice, self.comm));
    factor.assign(factor.size(), 0);
    for (const ncclRedOp_t op : {immediate, onDevice}) {
      check(self, type, parts[static_cast<size_t>(self.rank)], expected.size(), expected, "PreMulSum",
            [&](const void* send, void* recv) {
              return ncclAllReduce(send, recv, count, type, op, self.comm, self.stream);
            });
      EXPECT_NCCL(ncclSuccess, ncclRedOpDestroy(op, self.comm));
    }
    EXPECT_NCCL(ncclInvalidArgument, ncclRedOpDestroy(immediate, self.comm));
  });
}

// One element; odd sizes; what all reduce together; more than one round of 512 KiB.
INSTANTIATE_TEST_SUITE_P(Sizes, NcclCollectives,
                         ::testing::Values(Case{1, 5}, Case{2, 1}, Case{3, 257}, Case{8, 65},
                                           Case{4, 2500, {ncclInt64, ncclFloat64}},
                                           Case{3, 9001, {ncclUint8, ncclBfloat16, ncclFloat32}},
                                           Case{2, 70001, {ncclUint64}}, Case{2, 140001, {ncclFloat32}}),
                         [](const auto& chosen) {
                           return "Ranks" + std::to_string(chosen.param.ranks) + "Count" + std::to_string(chosen.param.count);
                         });

TEST(NcclCollectivesAtScale, SixtyFourRanksReduceAndExchange) {
  asThreads(64, [](Rank& self) {
    const size_t count = 3001;
    const auto& parts = inputs(64, ncclBfloat16, count, 70);
    const Bytes& expected = reduced(64, ncclBfloat16, count, 70, ncclAvg);
    check(self, ncclBfloat16, parts[static_cast<size_t>(self.rank)], expected.size(), expected, "AllReduce of 64",
          [&](const void* send, void* recv) {
            return ncclAllReduce(send, recv, count, ncclBfloat16, ncclAvg, self.comm, self.stream);
          });
    Buffer<int> out(std::vector<int>(64 * 3000, self.rank));
    Buffer<int> in(64 * 3000);
    EXPECT_NCCL(ncclSuccess, ncclAlltoAll(out.data(), in.data(), 3000, ncclInt32, self.comm, self.stream));
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    const std::vector<int> got = in.read();
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(static_cast<int>(i / 3000), got[i]);
  });
}

// A bit of everything, several rounds each, as the other processes do it.
void mixture(Rank& self) {
  const size_t count = 140'001;
  const auto rank = static_cast<size_t>(self.rank);
  const auto size = static_cast<size_t>(self.size);
  const auto& parts = inputs(self.size, ncclFloat32, count, 80);
  check(self, ncclFloat32, parts[rank], count * 4, reduced(self.size, ncclFloat32, count, 80, ncclSum), "AllReduce",
        [&](const void* send, void* recv) {
          return ncclAllReduce(send, recv, count, ncclFloat32, ncclSum, self.comm, self.stream);
        });
  check(self, ncclFloat32, parts[rank], count * 4 * size, concatenation(parts), "AllGather", [&](const void* send, void* recv) {
    return ncclAllGather(send, recv, count, ncclFloat32, self.comm, self.stream);
  });
  check(self, ncclFloat32, parts[rank], count * 4, parts[1], "Broadcast", [&](const void* send, void* recv) {
    return ncclBroadcast(send, recv, count, ncclFloat32, 1, self.comm, self.stream);
  });
  const auto& blocks = inputs(self.size, ncclFloat32, count * size, 81);
  Bytes exchanged;
  for (const Bytes& part : blocks) {
    const Bytes block = slice(part, rank, count * 4);
    exchanged.insert(exchanged.end(), block.begin(), block.end());
  }
  check(self, ncclFloat32, blocks[rank], exchanged.size(), exchanged, "AlltoAll", [&](const void* send, void* recv) {
    return ncclAlltoAll(send, recv, count, ncclFloat32, self.comm, self.stream);
  });
  check(self, ncclFloat32, parts[rank], count * 4, parts[(rank + size - 1) % size], "a ring of messages",
        [&](const void* send, void* recv) {
          const int next = (self.rank + 1) % self.size;
          const int previous = (self.rank + self.size - 1) % self.size;
          EXPECT_NCCL(ncclSuccess, ncclGroupStart());
          EXPECT_NCCL(ncclSuccess, ncclSend(send, count, ncclFloat32, next, self.comm, self.stream));
          EXPECT_NCCL(ncclSuccess, ncclRecv(recv, count, ncclFloat32, previous, self.comm, self.stream));
          return ncclGroupEnd();
        });
}

const RoleOf mixtureRole("mixture", [](const std::vector<std::string>& parameters) {
  const ncclUniqueId id = fromHex(parameters.at(0));
  const int first = std::stoi(parameters.at(1));
  onThreads(2, [&](int i) { asRank(id, 6, first + i, mixture); });
});

TEST(NcclCollectivesOfProcesses, SixRanksInThreeProcesses) {
  const ncclUniqueId id = makeId();
  std::vector<Child> children;
  for (const char* first : {"2", "4"}) children.emplace_back("mixture", std::vector<std::string>{toHex(id), first});
  onThreads(2, [&](int rank) { asRank(id, 6, rank, mixture); });
  for (Child& child : children) EXPECT_EQ(0, child.join());
}

TEST(NcclCollectivesEdge, NothingToDo) {
  asThreads(2, [](Rank& self) {
    // Not even the other rank is needed.
    if (self.rank == 0) {
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(nullptr, nullptr, 0, ncclFloat32, ncclSum, self.comm, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    }
  });
}

TEST(NcclCollectivesEdge, ManyInARowWithoutWaiting) {
  asThreads(4, [](Rank& self) {
    Buffer<int64_t> value(std::vector<int64_t>{1});
    for (int i = 0; i < 20; ++i) {
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), value.data(), 1, ncclInt64, ncclSum, self.comm, self.stream));
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
    EXPECT_EQ(int64_t{1} << 40, value.read()[0]);
  });
}

TEST(NcclCollectivesEdge, CapturedAndReplayed) {
  asThreads(3, [](Rank& self) {
    Buffer<int> value(std::vector<int>{self.rank + 1});
    Buffer<int> sum(1);
    ASSERT_CUDA(cudaSuccess, cudaStreamBeginCapture(self.stream, cudaStreamCaptureModeRelaxed));
    EXPECT_NCCL(ncclSuccess, ncclAllReduce(value.data(), sum.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    ASSERT_CUDA(cudaSuccess, cudaStreamEndCapture(self.stream, &graph));
    ASSERT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec, graph, 0));
    EXPECT_EQ(0, sum.read()[0]) << "recorded, not run";
    for (int step = 1; step <= 5; ++step) {
      value.write({(self.rank + 1) * step});
      EXPECT_CUDA(cudaSuccess, cudaGraphLaunch(exec, self.stream));
      // Eager work between replays keeps its place.
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(sum.data(), sum.data(), 1, ncclInt32, ncclMax, self.comm, self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      EXPECT_EQ(6 * step, sum.read()[0]);
    }
    EXPECT_CUDA(cudaSuccess, cudaGraphExecDestroy(exec));
    EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(graph));
  });
}

TEST(NcclCollectivesEdge, TwoStreamsKeepTheOrderOfTheCalls) {
  asThreads(2, [](Rank& self) {
    cudaStream_t second;
    ASSERT_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    for (int i = 0; i < 50; ++i) {
      Buffer<int> a(std::vector<int>{self.rank});
      Buffer<int> b(std::vector<int>{self.rank, self.rank});
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(a.data(), a.data(), 1, ncclInt32, ncclSum, self.comm, self.stream));
      EXPECT_NCCL(ncclSuccess, ncclAllReduce(b.data(), b.data(), 2, ncclInt32, ncclMax, self.comm, second));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(self.stream));
      EXPECT_CUDA(cudaSuccess, cudaStreamSynchronize(second));
      EXPECT_EQ(1, a.read()[0]);
      EXPECT_EQ((std::vector<int>{1, 1}), b.read());
    }
    EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(second));
  });
}

}  // namespace
}  // namespace nccl_test
