#include "ep_support.h"

#include <algorithm>

namespace ep_test {

namespace {

// Keeps a short call log on, for lastReason.
const bool logging = nccl4jEmuCallLog(64) == 0;

}  // namespace

std::string lastReason() {
  std::vector<nccl4jEmuCall_t> calls(64);
  const size_t n = logging ? nccl4jEmuCalls(1, calls.data(), calls.size()) : 0;
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    const char* reason = std::strstr(calls[i].arguments, "reason=");
    if (reason != nullptr) {
      text = std::string(calls[i].function) + ", rank " + std::to_string(calls[i].rank) + ": " + reason;
    }
  }
  return text;
}

Misuses::Misuses() {
  std::vector<nccl4jEmuMisuse_t> records(2048);
  const size_t n = nccl4jEmuMisuses(1, records.data(), records.size());
  if (n > 0) from_ = records[n - 1].sequence + 1;
}

std::vector<nccl4jEmuMisuse_t> Misuses::since() const {
  std::vector<nccl4jEmuMisuse_t> records(2048);
  records.resize(nccl4jEmuMisuses(from_, records.data(), records.size()));
  return records;
}

int Misuses::lastEnd() const {
  const auto records = since();
  return records.empty() ? -1 : records.back().end;
}

std::string Misuses::lastText() const {
  const auto records = since();
  return records.empty() ? "" : records.back().text;
}

Tensor::Tensor(std::vector<size_t> sizes, ncclDataType_t type, void* memory)
    : sizes_(std::move(sizes)), memory_(memory) {
  std::memset(&descriptor_, 0, sizeof descriptor_);
  descriptor_.size = sizeof descriptor_;
  descriptor_.magic = NCCL_EP_TENSOR_MAGIC;
  descriptor_.ndim = static_cast<unsigned>(sizes_.size());
  descriptor_.datatype = type;
  descriptor_.data = memory;
  descriptor_.sizes = sizes_.data();
}

Tensor::Tensor(ncclDataType_t type, std::vector<size_t> sizes) : Tensor(std::move(sizes), type, nullptr) {
  if (bytes() > 0) {
    EXPECT_CUDA(cudaSuccess, cudaMalloc(&memory_, bytes()));
  }
  descriptor_.data = memory_;
}

std::unique_ptr<Tensor> Tensor::bare(ncclDataType_t type, std::vector<size_t> sizes) {
  return std::unique_ptr<Tensor>(new Tensor(std::move(sizes), type, nullptr));
}

std::unique_ptr<Tensor> Tensor::windowed(ncclComm_t comm, ncclDataType_t type, std::vector<size_t> sizes,
                                         bool withData) {
  std::unique_ptr<Tensor> tensor(new Tensor(std::move(sizes), type, nullptr));
  const size_t bytes = std::max<size_t>(tensor->bytes(), 16);
  EXPECT_NCCL(ncclSuccess, ncclMemAlloc(&tensor->memory_, bytes));
  EXPECT_NCCL(ncclSuccess, ncclCommWindowRegister(comm, tensor->memory_, bytes, &tensor->descriptor_.win_hdl,
                                                  NCCL_WIN_COLL_SYMMETRIC));
  tensor->comm_ = comm;
  if (withData) tensor->descriptor_.data = tensor->memory_;
  return tensor;
}

Tensor::~Tensor() {
  if (comm_ != nullptr) {
    EXPECT_NCCL(ncclSuccess, ncclCommWindowDeregister(comm_, descriptor_.win_hdl));
    EXPECT_NCCL(ncclSuccess, ncclMemFree(memory_));
  } else {
    cudaFree(memory_);  // not checked: tests may have failed the device
  }
}

size_t Tensor::elements() const {
  size_t n = 1;
  for (const size_t size : sizes_) n *= size;
  return n;
}

ncclEpGroupConfig_t lowLatency(unsigned experts, unsigned maxTokens, unsigned maxTokenBytes) {
  auto config = made<ncclEpGroupConfig_t>();
  config.version = NCCL_EP_API_VERSION;
  config.algorithm = NCCL_EP_ALGO_LOW_LATENCY;
  config.num_experts = experts;
  config.max_dispatch_tokens_per_rank = maxTokens;
  config.max_token_bytes = maxTokenBytes;
  return config;
}

ncclEpGroupConfig_t highThroughput(unsigned experts, unsigned maxTokens, unsigned maxTokenBytes, unsigned maxReceive) {
  ncclEpGroupConfig_t config = lowLatency(experts, maxTokens, maxTokenBytes);
  config.algorithm = NCCL_EP_ALGO_HIGH_THROUGHPUT;
  config.max_recv_tokens_per_rank = maxReceive;
  return config;
}

Group::Group(const Rank& rank, const ncclEpGroupConfig_t& config) {
  EXPECT_EP(ncclSuccess, ncclEpCreateGroup(&group_, rank.comm, &config));
}

Group::~Group() { EXPECT_EP(ncclSuccess, ncclEpGroupDestroy(group_)); }

Handle::Handle(ncclEpGroup_t group, ncclEpLayout_t layout, int topk, size_t alignment, ncclEpTensor_t* memory) {
  auto config = made<ncclEpHandleConfig_t>();
  config.dispatch_output_per_expert_alignment = alignment;
  EXPECT_EP(ncclSuccess, ncclEpInitHandle(&handle_, group, layout, &config, topk, memory));
}

Handle::~Handle() { EXPECT_EP(ncclSuccess, ncclEpHandleDestroy(handle_)); }

void synchronize(const Rank& rank) {
  char text[1024] = "";
  const cudaError_t error = cudaStreamSynchronize(rank.stream);
  if (error != cudaSuccess) nccl4jEmuErrorText(rank.rank, text, sizeof text);
  EXPECT_EQ(cudaSuccess, error) << text;
}

}  // namespace ep_test
