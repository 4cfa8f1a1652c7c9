// Every function with arguments that make no sense, in report mode, where nothing may end the process. A failure names
// its seed; NCCL4J_FUZZ_SEED=seed replays it, NCCL4J_FUZZ_CALLS sets the number of calls.
#include <cstdlib>

#include "ep/introspection.h"
#include "ep_round.h"

namespace ep_test {
namespace {

uint64_t number(const char* variable, uint64_t normal) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : normal;
}

// Memory that cannot be written. As long as the largest array that any call is told of and that exists.
constexpr size_t kScratchBytes = size_t{1} << 16;
alignas(16) const unsigned char kReadOnly[kScratchBytes] = {1};

// What one rank has made so far, living and dead, and numbers nobody should pass.
class Fuzz {
 public:
  explicit Fuzz(uint64_t seed) : random_(seed) { build(); }
  ~Fuzz() { tearDown(); }

  void call();
  const std::string& last() const { return last_; }

 private:
  using Bits = uintptr_t;
  bool chance(unsigned oneIn) { return random_() % oneIn == 0; }
  template <class T>
  T pick(const std::vector<T>& values) {
    return values[random_() % values.size()];
  }

  // Host memory, device memory, freed memory, nothing, and nowhere.
  void* pointer() {
    return pick<void*>({nullptr, scratch_.data(), scratch_.data() + 8, scratch_.data() + 3, device_,
                        static_cast<char*>(device_) + 64, freed_, pinned_, window_, reinterpret_cast<void*>(Bits{8}),
                        reinterpret_cast<void*>(Bits{0x123456789000}), reinterpret_cast<void*>(~Bits{15}),
                        const_cast<unsigned char*>(kReadOnly)});
  }
  template <class T>
  T* out() {
    return static_cast<T*>(chance(3) ? pointer() : scratch_.data() + 8 * (random_() % 64));
  }
  template <class Handle>
  Handle handle(Handle living, Handle dead) {
    return pick<Handle>({living, living, living, dead, nullptr, reinterpret_cast<Handle>(pointer())});
  }
  int small() { return pick<int>({-1, 0, 1, 2, 3, 7, 8, 32, 33, 1000, INT32_MAX, INT32_MIN}); }
  size_t count() { return pick<size_t>({0, 1, 2, 8, 64, 512, 4096, size_t{1} << 32, SIZE_MAX / 2, SIZE_MAX}); }
  cudaStream_t stream() { return handle<cudaStream_t>(stream_, deadStream_); }

  template <class Struct>
  Struct bent() {
    auto value = made<Struct>();
    if (chance(6)) value.size = static_cast<unsigned>(small());
    if (chance(12)) value.magic = static_cast<unsigned>(random_());
    return value;
  }
  template <class Struct>
  Struct* orNot(Struct& value) {
    return chance(8) ? static_cast<Struct*>(pointer()) : &value;
  }
  ncclEpTensor_t* tensor();
  ncclEpGroupConfig_t groupConfig();

  void build();
  void tearDown();
  void callEp();
  void callStep();
  void callCuda();
  void callGraph();
  void callNccl();

  std::mt19937_64 random_;
  std::string last_;
  std::vector<unsigned char> scratch_ = std::vector<unsigned char>(kScratchBytes);
  std::vector<ncclEpTensor_t> tensors_ = std::vector<ncclEpTensor_t>(16);
  std::vector<std::vector<size_t>> sizes_ = std::vector<std::vector<size_t>>(16);
  void* device_ = nullptr;
  void* freed_ = nullptr;
  void* pinned_ = nullptr;
  void* window_ = nullptr;
  cudaStream_t stream_ = nullptr, deadStream_ = nullptr;
  cudaEvent_t event_ = nullptr, deadEvent_ = nullptr;
  cudaGraph_t graph_ = nullptr, deadGraph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
  ncclComm_t comm_ = nullptr, deadComm_ = nullptr;
  ncclEpGroup_t group_ = nullptr, deadGroup_ = nullptr;
  ncclEpHandle_t handle_ = nullptr, deadHandle_ = nullptr;
  ncclWindow_t win_ = nullptr;
};

constexpr size_t kDeviceBytes = size_t{1} << 20;

void Fuzz::build() {
  EXPECT_CUDA(cudaSuccess, cudaSetDevice(0));
  EXPECT_CUDA(cudaSuccess, cudaMalloc(&device_, kDeviceBytes));
  EXPECT_CUDA(cudaSuccess, cudaMalloc(&freed_, 4096));
  EXPECT_CUDA(cudaSuccess, cudaFree(freed_));
  EXPECT_CUDA(cudaSuccess, cudaMallocHost(&pinned_, 4096));
  for (cudaStream_t* one : {&stream_, &deadStream_}) EXPECT_CUDA(cudaSuccess, cudaStreamCreate(one));
  EXPECT_CUDA(cudaSuccess, cudaStreamDestroy(deadStream_));
  for (cudaEvent_t* one : {&event_, &deadEvent_}) EXPECT_CUDA(cudaSuccess, cudaEventCreate(one));
  EXPECT_CUDA(cudaSuccess, cudaEventDestroy(deadEvent_));
  for (cudaGraph_t* one : {&graph_, &deadGraph_}) EXPECT_CUDA(cudaSuccess, cudaGraphCreate(one, 0));
  EXPECT_CUDA(cudaSuccess, cudaGraphInstantiate(&exec_, graph_, 0));
  EXPECT_CUDA(cudaSuccess, cudaGraphDestroy(deadGraph_));
  int zero = 0;
  for (ncclComm_t* one : {&deadComm_, &comm_}) {
    EXPECT_NCCL(ncclSuccess, ncclCommInitAll(one, 1, &zero));
    if (one == &deadComm_) {
      EXPECT_NCCL(ncclSuccess, ncclCommDestroy(deadComm_));
    }
  }
  EXPECT_NCCL(ncclSuccess, ncclMemAlloc(&window_, kDeviceBytes));
  EXPECT_NCCL(ncclSuccess, ncclCommWindowRegister(comm_, window_, kDeviceBytes, &win_, NCCL_WIN_COLL_SYMMETRIC));
  const bool ll = chance(2);
  ncclEpGroupConfig_t config = ll ? lowLatency(8, 8, 1024) : highThroughput(8, 8, 1024, chance(3) ? 0 : 64);
  config.num_topk = 2;
  config.enable_mask = ll ? 1 : 0;
  const ncclEpLayout_t layout = chance(2) ? NCCL_EP_LAYOUT_EXPERT_MAJOR
                                : ll      ? NCCL_EP_LAYOUT_RANK_MAJOR
                                          : NCCL_EP_LAYOUT_FLAT;
  for (ncclEpGroup_t* one : {&deadGroup_, &group_}) {
    EXPECT_EP(ncclSuccess, ncclEpCreateGroup(one, comm_, &config));
    if (one == &deadGroup_) {
      EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(deadGroup_));
    }
  }
  for (ncclEpHandle_t* one : {&deadHandle_, &handle_}) {
    EXPECT_EP(ncclSuccess, ncclEpInitHandle(one, group_, layout, nullptr, 2, nullptr));
  }
  EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(deadHandle_));
}

// Whatever state all is in: nothing is expected of these.
void Fuzz::tearDown() {
  cudaStreamEndCapture(stream_, &graph_);
  ncclGroupEnd();
  ncclEpHandleDestroy(handle_);
  ncclEpGroupDestroy(group_);
  ncclCommAbort(comm_);
  EXPECT_CUDA(cudaSuccess, cudaSetDevice(0));
  cudaGraphExecDestroy(exec_);
  cudaGraphDestroy(graph_);
  EXPECT_CUDA(cudaSuccess, cudaDeviceReset());
}

ncclEpTensor_t* Fuzz::tensor() {
  if (chance(10)) return static_cast<ncclEpTensor_t*>(pointer());
  const size_t at = random_() % tensors_.size();
  ncclEpTensor_t& tensor = tensors_[at];
  std::memset(&tensor, 0, sizeof tensor);
  tensor.size = chance(12) ? static_cast<unsigned>(small()) : sizeof tensor;
  tensor.magic = pick<unsigned>({NCCL_EP_TENSOR_MAGIC, NCCL_EP_TENSOR_MAGIC, NCCL_EP_TENSOR_MAGIC, NCCL_EP_TENSOR_MAGIC,
                                 0xBEEFBEEF, NCCL_EP_MAGIC, 0});
  const std::vector<std::vector<size_t>> shapes = {
      {4, 2}, {4, 512},  {8, 8, 512},        {1, 8, 512},          {64, 512}, {64, 2}, {64}, {8}, {1}, {1, 8, 2},
      {0, 2}, {count()}, {count(), count()}, {count(), 2, count()}};
  sizes_[at] = pick(shapes);
  tensor.ndim = chance(12) ? static_cast<unsigned>(small()) : static_cast<unsigned>(sizes_[at].size());
  // Never more extents than there are: a program that lies about its own array cannot be told from one that does not.
  constexpr size_t kMostExtents = kScratchBytes / sizeof(size_t);
  if (tensor.ndim > sizes_[at].size()) sizes_[at].resize(std::min<size_t>(tensor.ndim, kMostExtents), 1);
  tensor.datatype = pick<ncclDataType_t>({ncclBfloat16, ncclBfloat16, ncclFloat32, ncclInt64, ncclInt32, ncclFloat8e4m3,
                                          ncclUint8, ncclFloat4x2, static_cast<ncclDataType_t>(99)});
  tensor.data = chance(2) ? device_ : pointer();
  tensor.win_hdl = chance(6) ? static_cast<ncclWindow_t>(chance(2) ? win_ : pointer()) : nullptr;
  tensor.win_offset = chance(6) ? count() : 0;
  tensor.sizes = chance(12) ? static_cast<size_t*>(pointer()) : sizes_[at].data();
  if (tensor.ndim > kMostExtents) tensor.sizes = reinterpret_cast<size_t*>(chance(2) ? Bits{0} : Bits{8});
  return &tensor;
}

ncclEpGroupConfig_t Fuzz::groupConfig() {
  auto config = bent<ncclEpGroupConfig_t>();
  config.version = static_cast<unsigned>(small());
  config.algorithm = static_cast<ncclEpAlgorithm_t>(chance(6) ? small() : static_cast<int>(random_() % 2));
  config.num_experts = chance(2) ? 8 : static_cast<unsigned>(small());
  config.max_dispatch_tokens_per_rank = chance(2) ? 8 : static_cast<unsigned>(small());
  config.max_recv_tokens_per_rank = chance(2) ? 64 : static_cast<unsigned>(small());
  config.max_token_bytes = chance(2) ? 1024 : static_cast<unsigned>(small());
  config.rdma_buffer_size = chance(3) ? count() : 0;
  config.max_num_sms = chance(3) ? static_cast<unsigned>(small()) : 0;
  config.num_topk = chance(3) ? static_cast<unsigned>(small()) : 0;
  config.enable_mask = static_cast<unsigned>(small());
  config.timeout_ns = count();
  config.zero_copy = static_cast<ncclEpZeroCopyMode_t>(small());
  config.overflow_policy = static_cast<ncclEpOverflowPolicy_t>(small());
  return config;
}

void Fuzz::callEp() {
  auto handleConfig = bent<ncclEpHandleConfig_t>();
  handleConfig.dispatch_output_per_expert_alignment = chance(2) ? 4 : count();
  const auto layout = static_cast<ncclEpLayout_t>(chance(4) ? small() : static_cast<int>(random_() % 4));
  const ncclEpGroup_t group = handle<ncclEpGroup_t>(group_, deadGroup_);
  const ncclEpHandle_t ep = handle<ncclEpHandle_t>(handle_, deadHandle_);
  switch (random_() % 14) {
    case 0: last_ = "ncclEpGetVersion"; ncclEpGetVersion(out<int>()); break;
    case 1: {
      last_ = "ncclEpTensorAlloc";
      auto config = bent<ncclEpTensorAllocConfig_t>();
      const size_t sizes[] = {count(), count(), count()};
      ncclEpTensor_t* made = nullptr;
      const auto ndim = static_cast<unsigned>(chance(3) ? small() : 3);
      const bool lies = ndim > 3;
      const auto* given =
          lies || chance(4) ? (chance(2) ? nullptr : reinterpret_cast<const size_t*>(scratch_.data())) : sizes;
      if (lies && ndim > 400) break;  // more extents than the array has
      if (ncclEpTensorAlloc(chance(4) ? nullptr : &made, ndim, static_cast<ncclDataType_t>(small()), given,
                            orNot(config)) == ncclSuccess) {
        EXPECT_EP(ncclSuccess, ncclEpTensorDestroy(made));
      }
      break;
    }
    case 2: last_ = "ncclEpTensorDestroy"; ncclEpTensorDestroy(tensor()); break;
    case 3: {
      last_ = "ncclEpCreateGroup";
      ncclEpGroupConfig_t config = groupConfig();
      ncclEpGroup_t made = nullptr;
      if (ncclEpCreateGroup(chance(8) ? out<ncclEpGroup_t>() : &made, handle<ncclComm_t>(comm_, deadComm_),
                            orNot(config)) == ncclSuccess) {
        ncclEpGroupDestroy(made);
      }
      break;
    }
    case 4: last_ = "ncclEpGroupDestroy"; ncclEpGroupDestroy(group == group_ ? deadGroup_ : group); break;
    case 5:
      last_ = "ncclEpHandleMemSize";
      ncclEpHandleMemSize(group, layout, orNot(handleConfig), out<size_t>(), small());
      break;
    case 6: {
      last_ = "ncclEpInitHandle";
      ncclEpHandle_t made = nullptr;
      ncclEpInitHandle(chance(8) ? out<ncclEpHandle_t>() : &made, group, layout, orNot(handleConfig),
                       chance(2) ? 2 : small(), chance(2) ? nullptr : tensor());
      ncclEpHandleDestroy(made);
      break;
    }
    case 7: {
      last_ = "ncclEpCreateHandle";
      auto info = bent<ncclEpLayoutInfo_t>();
      ncclEpHandle_t made = nullptr;
      ncclEpCreateHandle(&made, group, layout, tensor(), chance(2) ? nullptr : orNot(info), orNot(handleConfig),
                         stream());
      ncclEpHandleDestroy(made);
      break;
    }
    case 8: last_ = "ncclEpHandleDestroy"; ncclEpHandleDestroy(ep == handle_ ? deadHandle_ : ep); break;
    case 9: last_ = "ncclEpMaskQuery"; ncclEpMaskQuery(group, out<int>(), stream()); break;
    case 10: last_ = "ncclEpMaskUpdate"; ncclEpMaskUpdate(group, out<int>(), stream()); break;
    case 11: last_ = "ncclEpMaskClean"; ncclEpMaskClean(group, stream()); break;
    case 12: last_ = "ncclEpGetAsyncError"; ncclEpGetAsyncError(group, out<int>()); break;
    default: last_ = "ncclEpErrorClear"; ncclEpErrorClear(group); break;
  }
}

void Fuzz::callStep() {
  const ncclEpHandle_t ep = handle<ncclEpHandle_t>(handle_, deadHandle_);
  auto info = bent<ncclEpLayoutInfo_t>();
  for (ncclEpTensor_t** field :
       {&info.expert_counters, &info.src_rank_counters, &info.expert_offsets, &info.recv_total_counter}) {
    if (chance(2)) *field = tensor();
  }
  info.recv_topk_idx_kind = static_cast<ncclEpExpertIdKind_t>(chance(4) ? small() : 0);
  switch (random_() % 4) {
    case 0:
      last_ = "ncclEpUpdateHandle";
      ncclEpUpdateHandle(ep, tensor(), chance(2) ? nullptr : orNot(info), stream());
      break;
    case 1: {
      last_ = "ncclEpDispatch";
      auto inputs = bent<ncclEpDispatchInputs_t>();
      auto outputs = bent<ncclEpDispatchOutputs_t>();
      auto config = bent<ncclEpDispatchConfig_t>();
      inputs.tokens = tensor();
      outputs.tokens = tensor();
      if (chance(2)) inputs.topk_weights = tensor();
      if (chance(2)) outputs.topk_weights = tensor();
      if (chance(2)) outputs.topk_idx = tensor();
      if (chance(4)) inputs.scales = tensor();
      if (chance(4)) outputs.scales = tensor();
      config.send_only = static_cast<unsigned>(random_() % 2);
      config.pass_direction = static_cast<ncclEpPassDir_t>(chance(4) ? small() : 0);
      config.quant_recipe = static_cast<ncclEpDispQuant_t>(chance(4) ? small() : 0);
      ncclEpDispatch(ep, orNot(inputs), orNot(outputs), orNot(info), orNot(config), stream());
      ncclEpComplete(handle_, nullptr, stream_);  // descriptors must not be needed any longer
      break;
    }
    case 2: {
      last_ = "ncclEpCombine";
      auto inputs = bent<ncclEpCombineInputs_t>();
      auto outputs = bent<ncclEpCombineOutputs_t>();
      auto config = bent<ncclEpCombineConfig_t>();
      inputs.tokens = tensor();
      outputs.tokens = tensor();
      if (chance(2)) inputs.topk_weights = tensor();
      if (chance(2)) outputs.topk_weights = tensor();
      if (chance(4)) inputs.scales = tensor();
      config.pass_direction = static_cast<ncclEpPassDir_t>(chance(4) ? small() : 0);
      config.quant_recipe = static_cast<ncclEpCombQuant_t>(chance(4) ? small() : 0);
      ncclEpCombine(ep, orNot(inputs), orNot(outputs), orNot(config), stream());
      break;
    }
    default: {
      last_ = "ncclEpComplete";
      auto config = bent<ncclEpCompleteConfig_t>();
      ncclEpComplete(ep, orNot(config), stream());
      break;
    }
  }
}

void Fuzz::callCuda() {
  const cudaEvent_t event = handle<cudaEvent_t>(event_, deadEvent_);
  switch (random_() % 24) {
    case 0:
      last_ = "cudaMemcpy";
      cudaMemcpy(pointer(), pointer(), random_() % 64, static_cast<cudaMemcpyKind>(random_() % 7));
      break;
    case 1:
      last_ = "cudaMemcpyAsync";
      cudaMemcpyAsync(pointer(), pointer(), random_() % 64, static_cast<cudaMemcpyKind>(random_() % 7), stream());
      break;
    case 2: last_ = "cudaMemset"; cudaMemset(pointer(), 0x7f, chance(4) ? count() : random_() % 64); break;
    case 3:
      last_ = "cudaMemsetAsync";
      cudaMemsetAsync(pointer(), 1, chance(4) ? count() : random_() % 64, stream());
      break;
    case 4:
      last_ = "cudaMemcpyPeerAsync";
      cudaMemcpyPeerAsync(pointer(), small(), pointer(), small(), random_() % 64, stream());
      break;
    case 5: {
      last_ = "cudaMalloc";
      void* made = nullptr;
      if (cudaMalloc(chance(6) ? nullptr : &made, chance(2) ? count() : 64) == cudaSuccess) cudaFree(made);
      break;
    }
    case 6:
      last_ = "cudaFree";
      cudaFree(pick<void*>({nullptr, freed_, scratch_.data(), pinned_, static_cast<char*>(device_) + 8}));
      break;
    case 7: last_ = "cudaFreeHost"; cudaFreeHost(pick<void*>({nullptr, freed_, scratch_.data(), device_})); break;
    case 8:
      last_ = "cudaHostRegister";
      cudaHostRegister(pick<void*>({nullptr, device_, pinned_}), count(), static_cast<unsigned>(small()));
      break;
    case 9: last_ = "cudaHostUnregister"; cudaHostUnregister(pointer()); break;
    case 10:
      last_ = "cudaPointerGetAttributes";
      cudaPointerGetAttributes(out<cudaPointerAttributes>(), pointer());
      break;
    case 11:
      last_ = "cudaDeviceGetAttribute";
      cudaDeviceGetAttribute(out<int>(), static_cast<cudaDeviceAttr>(small()), small());
      break;
    case 12:
      last_ = "cudaDeviceGetPCIBusId";
      cudaDeviceGetPCIBusId(out<char>(), static_cast<int>(random_() % 40) - 4, small());
      break;
    case 13: last_ = "cudaStreamQuery"; cudaStreamQuery(stream()); break;
    case 14: last_ = "cudaStreamWaitEvent"; cudaStreamWaitEvent(stream(), event, static_cast<unsigned>(small())); break;
    case 15:
      last_ = "cudaEventRecordWithFlags";
      cudaEventRecordWithFlags(event, stream(), static_cast<unsigned>(small()));
      break;
    case 16: last_ = "cudaEventElapsedTime"; cudaEventElapsedTime(out<float>(), event, event_); break;
    case 17: last_ = "cudaEventQuery"; cudaEventQuery(event); break;
    case 18: last_ = "cudaStreamGetPriority"; cudaStreamGetPriority(stream(), out<int>()); break;
    case 19: last_ = "cudaLaunchHostFunc"; cudaLaunchHostFunc(stream(), nullptr, pointer()); break;
    case 20: last_ = "cudaMemGetInfo"; cudaMemGetInfo(out<size_t>(), out<size_t>()); break;
    case 21:
      last_ = "cudaGetErrorString";
      EXPECT_NE(nullptr, cudaGetErrorString(static_cast<cudaError_t>(small())));
      break;
    case 22:
      last_ = "cudaMemPoolGetAttribute";
      cudaMemPoolGetAttribute(static_cast<cudaMemPool_t>(pointer()), static_cast<cudaMemPoolAttr>(small()), pointer());
      break;
    default: last_ = "cudaFreeAsync"; cudaFreeAsync(pick<void*>({nullptr, freed_, pinned_}), stream()); break;
  }
}

void Fuzz::callGraph() {
  const cudaGraph_t graph = handle<cudaGraph_t>(graph_, deadGraph_);
  cudaGraph_t made = nullptr;
  switch (random_() % 10) {
    case 0:
      last_ = "cudaStreamBeginCapture";
      cudaStreamBeginCapture(stream(), static_cast<cudaStreamCaptureMode>(random_() % 4));
      break;
    case 1:
      last_ = "cudaStreamEndCapture";
      if (cudaStreamEndCapture(stream(), chance(6) ? out<cudaGraph_t>() : &made) == cudaSuccess) cudaGraphDestroy(made);
      break;
    case 2: last_ = "cudaStreamIsCapturing"; cudaStreamIsCapturing(stream(), out<cudaStreamCaptureStatus>()); break;
    case 3:
      last_ = "cudaGraphAddEmptyNode";
      cudaGraphAddEmptyNode(out<cudaGraphNode_t>(), graph, static_cast<cudaGraphNode_t*>(pointer()), random_() % 3);
      break;
    case 4: last_ = "cudaGraphGetNodes"; cudaGraphGetNodes(graph, nullptr, out<size_t>()); break;
    case 5:
      last_ = "cudaGraphGetEdges";
      cudaGraphGetEdges(graph, static_cast<cudaGraphNode_t*>(pointer()), nullptr, nullptr, out<size_t>());
      break;
    case 6:
      last_ = "cudaGraphClone";
      if (cudaGraphClone(&made, graph) == cudaSuccess) cudaGraphDestroy(made);
      break;
    case 7: {
      last_ = "cudaGraphInstantiate";
      cudaGraphExec_t exec = nullptr;
      if (cudaGraphInstantiate(chance(6) ? out<cudaGraphExec_t>() : &exec, graph,
                               static_cast<unsigned long long>(random_() % 16)) == cudaSuccess) {
        cudaGraphExecDestroy(exec);
      }
      break;
    }
    case 8:
      last_ = "cudaGraphLaunch";
      cudaGraphLaunch(handle<cudaGraphExec_t>(exec_, static_cast<cudaGraphExec_t>(freed_)), stream());
      break;
    default:
      last_ = "cudaGraphExecUpdate";
      cudaGraphExecUpdate(exec_, graph, out<cudaGraphExecUpdateResultInfo>());
      break;
  }
}

void Fuzz::callNccl() {
  const ncclComm_t comm = handle<ncclComm_t>(comm_, deadComm_);
  const auto type = static_cast<ncclDataType_t>(chance(3) ? small() : static_cast<int>(ncclFloat32));
  const auto operation = static_cast<ncclRedOp_t>(chance(3) ? small() : static_cast<int>(ncclSum));
  const size_t elements = chance(4) ? count() : random_() % 64;
  switch (random_() % 14) {
    case 0:
      last_ = "ncclAllReduce";
      ncclAllReduce(pointer(), pointer(), elements, type, operation, comm, stream());
      break;
    case 1: last_ = "ncclAllGather"; ncclAllGather(pointer(), pointer(), elements, type, comm, stream()); break;
    case 2:
      last_ = "ncclBroadcast";
      ncclBroadcast(pointer(), pointer(), elements, type, small(), comm, stream());
      break;
    case 3:
      last_ = "ncclReduceScatter";
      ncclReduceScatter(pointer(), pointer(), elements, type, operation, comm, stream());
      break;
    case 4: last_ = "ncclCommCount"; ncclCommCount(comm, out<int>()); break;
    case 5: last_ = "ncclCommUserRank"; ncclCommUserRank(comm, out<int>()); break;
    case 6: last_ = "ncclCommGetAsyncError"; ncclCommGetAsyncError(comm, out<ncclResult_t>()); break;
    case 7: {
      last_ = "ncclCommWindowRegister";
      ncclWindow_t made = nullptr;
      if (ncclCommWindowRegister(comm, pointer(), count(), &made, small()) == ncclSuccess) {
        ncclCommWindowDeregister(comm_, made);
      }
      break;
    }
    case 8:
      last_ = "ncclCommWindowDeregister";
      ncclCommWindowDeregister(comm, static_cast<ncclWindow_t>(pick<void*>({nullptr, scratch_.data(), freed_})));
      break;
    case 9:
      last_ = "ncclWinGetUserPtr";
      ncclWinGetUserPtr(comm, chance(2) ? win_ : static_cast<ncclWindow_t>(pointer()), out<void*>());
      break;
    case 10: {
      last_ = "ncclCommInitRank";
      ncclUniqueId id;
      for (char& byte : id.internal) byte = static_cast<char>(random_());
      ncclComm_t made = nullptr;
      EXPECT_NE(ncclSuccess, ncclCommInitRank(&made, small(), id, small()));
      break;
    }
    case 11: {
      last_ = "ncclCommSplit";
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      if (chance(3)) config.magic = 1;
      if (chance(3)) config.size = count();
      ncclComm_t made = nullptr;
      const ncclResult_t split = ncclCommSplit(comm, chance(2) ? 0 : small(), small(), &made, orNot(config));
      if (split == ncclSuccess && made != nullptr) {
        ncclCommDestroy(made);
      }
      break;
    }
    case 12:
      last_ = "ncclGetErrorString";
      EXPECT_NE(nullptr, ncclGetErrorString(static_cast<ncclResult_t>(small())));
      break;
    default: last_ = "ncclMemFree"; ncclMemFree(pick<void*>({nullptr, scratch_.data(), freed_, device_})); break;
  }
}

void Fuzz::call() {
  switch (random_() % 6) {
    case 0:
    case 1: callEp(); break;
    case 2:
    case 3: callStep(); break;
    case 4: chance(2) ? callCuda() : callGraph(); break;
    default: callNccl(); break;
  }
}

TEST(EpFuzz, NothingEndsTheProcess) {
  const Option report("misuse", "report"), limit("wait_limit_ms", "10000");
  const uint64_t first = number("NCCL4J_FUZZ_SEED", 4242), calls = number("NCCL4J_FUZZ_CALLS", 30000);
  constexpr uint64_t kCallsOfAWorld = 25;
  for (uint64_t seed = first; seed < first + calls / kCallsOfAWorld && !testing::Test::HasFailure(); ++seed) {
    Fuzz fuzz(seed);
    SCOPED_TRACE("NCCL4J_FUZZ_SEED=" + std::to_string(seed) + " NCCL4J_FUZZ_CALLS=25");
    for (uint64_t i = 0; i < kCallsOfAWorld; ++i) {
      fuzz.call();
      ASSERT_FALSE(testing::Test::HasFailure()) << fuzz.last();
    }
  }
  EXPECT_EQ(0u, nccl_test::usage().communicators);
}

}  // namespace
}  // namespace ep_test
