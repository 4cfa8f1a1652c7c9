// The patterns of `ep patterns --timed` in C++, to set its times beside: ranks as threads of one process, low latency
// EXPERT_MAJOR, bfloat16, every token routed at random to different experts, five small memsets for the kernels of
// attention and five for those of the experts. Prints microseconds of a layer, median of the rounds' slowest ranks.
//
// patterns RANKS STEPS EXPERTS HIDDEN LAYERS TOKENS...
#include <cuda_runtime.h>
#include <nccl.h>
#include <nccl_ep.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#define CHECK(call)                                                           \
  do {                                                                        \
    const int status_ = static_cast<int>(call);                               \
    if (status_ != 0) {                                                       \
      std::fprintf(stderr, "%s:%d: %s answered %d\n", __FILE__, __LINE__, #call, status_); \
      std::_Exit(1);                                                          \
    }                                                                         \
  } while (0)

namespace {

constexpr int kTopK = 8, kKernels = 5, kRounds = 10;

struct Shape {
  int ranks, experts, hidden, layers, tokens, steps;
};

struct Tensor {
  ncclEpTensor_t descriptor{};
  std::vector<size_t> sizes;

  Tensor(ncclDataType_t type, size_t bytesEach, std::vector<size_t> shape) : sizes(std::move(shape)) {
    descriptor.size = sizeof(descriptor);
    descriptor.magic = NCCL_EP_TENSOR_MAGIC;
    descriptor.ndim = static_cast<unsigned>(sizes.size());
    descriptor.datatype = type;
    descriptor.sizes = sizes.data();
    const size_t bytes = std::accumulate(sizes.begin(), sizes.end(), bytesEach, std::multiplies<>());
    CHECK(cudaMalloc(&descriptor.data, bytes));
    CHECK(cudaMemset(descriptor.data, 0, bytes));
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor() { cudaFree(descriptor.data); }

  template <typename T>
  void write(const std::vector<T>& values) {
    CHECK(cudaMemcpy(descriptor.data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
};

template <typename T>
T structure() {
  T value{};
  value.size = sizeof(T);
  value.magic = NCCL_EP_MAGIC;
  return value;
}

class Layer {
 public:
  Layer(const Shape& shape, ncclComm_t comm, int rank)
      : shape_(shape),
        tokens_(static_cast<size_t>(shape.tokens)),
        hidden_(static_cast<size_t>(shape.hidden)),
        local_(static_cast<size_t>(shape.experts / shape.ranks)),
        topk_(ncclInt64, 8, {tokens_, kTopK}),
        weights_(ncclFloat32, 4, {tokens_, kTopK}),
        in_(ncclBfloat16, 2, {tokens_, hidden_}),
        received_(ncclBfloat16, 2, {local_, static_cast<size_t>(shape.ranks) * tokens_, hidden_}),
        answers_(ncclBfloat16, 2, {local_, static_cast<size_t>(shape.ranks) * tokens_, hidden_}),
        counts_(ncclInt32, 4, {local_}),
        combined_(ncclBfloat16, 2, {tokens_, hidden_}) {
    CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    CHECK(cudaMalloc(&scratch_, 256));
    auto config = structure<ncclEpGroupConfig_t>();
    config.version = NCCL_EP_API_VERSION;
    config.algorithm = NCCL_EP_ALGO_LOW_LATENCY;
    config.num_experts = static_cast<unsigned>(shape.experts);
    config.max_dispatch_tokens_per_rank = static_cast<unsigned>(shape.tokens);
    config.max_token_bytes = static_cast<unsigned>(shape.hidden * 2);
    config.num_topk = kTopK;
    CHECK(ncclEpCreateGroup(&group_, comm, &config));
    CHECK(ncclEpInitHandle(&handle_, group_, NCCL_EP_LAYOUT_EXPERT_MAJOR, nullptr, kTopK, nullptr));
    inputs_.tokens = &in_.descriptor;
    outputs_.tokens = &received_.descriptor;
    info_.expert_counters = &counts_.descriptor;
    back_.tokens = &answers_.descriptor;
    home_.tokens = &combined_.descriptor;
    home_.topk_weights = &weights_.descriptor;
    route(rank);
  }

  ~Layer() {
    cudaStreamSynchronize(stream_);
    ncclEpHandleDestroy(handle_);
    ncclEpGroupDestroy(group_);
    cudaFree(scratch_);
    cudaStreamDestroy(stream_);
  }

  void createDestroy() {
    for (int layer = 0; layer < shape_.layers; layer++) {
      compute();
      ncclEpHandle_t mine = nullptr;
      CHECK(ncclEpCreateHandle(&mine, group_, NCCL_EP_LAYOUT_EXPERT_MAJOR, &topk_.descriptor, nullptr, nullptr,
                               stream_));
      exchange(mine);
      CHECK(ncclEpHandleDestroy(mine));
    }
  }

  void explicitCalls() {
    for (int layer = 0; layer < shape_.layers; layer++) {
      compute();
      CHECK(ncclEpUpdateHandle(handle_, &topk_.descriptor, nullptr, stream_));
      exchange(handle_);
    }
  }

  void capture() {
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
    explicitCalls();
    CHECK(cudaStreamEndCapture(stream_, &graph));
    CHECK(cudaGraphInstantiate(&step_, graph, 0));
    CHECK(cudaGraphDestroy(graph));
  }

  void replay() { CHECK(cudaGraphLaunch(step_, stream_)); }
  void synchronize() { CHECK(cudaStreamSynchronize(stream_)); }
  int steps() const { return shape_.steps; }
  int layers() const { return shape_.layers; }

 private:
  void route(int rank) {
    std::mt19937 random(static_cast<unsigned>(rank) + 1);
    std::vector<int64_t> all(static_cast<size_t>(shape_.experts)), chosen;
    std::iota(all.begin(), all.end(), 0);
    for (size_t token = 0; token < tokens_; token++) {
      std::shuffle(all.begin(), all.end(), random);
      chosen.insert(chosen.end(), all.begin(), all.begin() + kTopK);
    }
    topk_.write(chosen);
    weights_.write(std::vector<float>(tokens_ * kTopK, 1.0f / kTopK));
  }

  void compute() {
    for (int i = 0; i < kKernels; i++) CHECK(cudaMemsetAsync(scratch_, i, 256, stream_));
  }

  void exchange(ncclEpHandle_t handle) {
    CHECK(ncclEpDispatch(handle, &inputs_, &outputs_, &info_, nullptr, stream_));
    compute();
    CHECK(ncclEpCombine(handle, &back_, &home_, nullptr, stream_));
  }

  Shape shape_;
  size_t tokens_, hidden_, local_;
  Tensor topk_, weights_, in_, received_, answers_, counts_, combined_;
  cudaStream_t stream_ = nullptr;
  void* scratch_ = nullptr;
  ncclEpGroup_t group_ = nullptr;
  ncclEpHandle_t handle_ = nullptr;
  cudaGraphExec_t step_ = nullptr;
  ncclEpDispatchInputs_t inputs_ = structure<ncclEpDispatchInputs_t>();
  ncclEpDispatchOutputs_t outputs_ = structure<ncclEpDispatchOutputs_t>();
  ncclEpLayoutInfo_t info_ = structure<ncclEpLayoutInfo_t>();
  ncclEpCombineInputs_t back_ = structure<ncclEpCombineInputs_t>();
  ncclEpCombineOutputs_t home_ = structure<ncclEpCombineOutputs_t>();
};

using Step = void (Layer::*)();
constexpr Step kPatterns[] = {&Layer::createDestroy, &Layer::explicitCalls, &Layer::replay};

// Microseconds of a layer in each round.
std::vector<double> rounds(Layer& layer, Step step, std::barrier<>& meeting) {
  std::vector<double> micros;
  const int perRound = std::max(1, layer.steps() / kRounds);
  for (int round = 0; round < 2 * kRounds; round++) {
    layer.synchronize();
    meeting.arrive_and_wait();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < perRound; i++) (layer.*step)();
    layer.synchronize();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    if (round >= kRounds) micros.push_back(took.count() / perRound / layer.layers());
  }
  return micros;
}

void measure(const Shape& shape, const ncclUniqueId& id) {
  const auto ranks = static_cast<size_t>(shape.ranks);
  std::vector<std::vector<std::vector<double>>> times(ranks);
  std::barrier meeting(shape.ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < shape.ranks; rank++) {
    threads.emplace_back([&, rank] {
      CHECK(cudaSetDevice(rank));
      ncclComm_t comm = nullptr;
      CHECK(ncclCommInitRank(&comm, shape.ranks, id, rank));
      {
        Layer layer(shape, comm, rank);
        layer.explicitCalls();
        layer.synchronize();
        layer.capture();
        for (const Step step : kPatterns) times[static_cast<size_t>(rank)].push_back(rounds(layer, step, meeting));
        meeting.arrive_and_wait();
      }
      CHECK(ncclCommDestroy(comm));
    });
  }
  for (auto& thread : threads) thread.join();
  std::printf("| %d, %d, %d | %d |", shape.experts, shape.hidden, shape.layers, shape.tokens);
  for (size_t pattern = 0; pattern < std::size(kPatterns); pattern++) {
    std::vector<double> slowest = times[0][pattern];
    for (size_t rank = 1; rank < ranks; rank++)
      for (size_t round = 0; round < slowest.size(); round++)
        slowest[round] = std::max(slowest[round], times[rank][pattern][round]);
    std::sort(slowest.begin(), slowest.end());
    std::printf(" %.1f |", (slowest[slowest.size() / 2 - 1] + slowest[slowest.size() / 2]) / 2);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** values) {
  if (count < 7) {
    std::fprintf(stderr, "patterns RANKS STEPS EXPERTS HIDDEN LAYERS TOKENS...\n");
    return 2;
  }
  const auto number = [&](int at) { return std::atoi(values[at]); };
  std::printf("| experts, hidden, layers | tokens | create, destroy | update, dispatch, combine | graph |\n");
  for (int at = 6; at < count; at++) {
    ncclUniqueId id;
    CHECK(ncclGetUniqueId(&id));
    measure(Shape{number(1), number(3), number(4), number(5), number(at), number(2)}, id);
  }
  return 0;
}
