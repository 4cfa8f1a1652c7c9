/*
 * A program that uses the C interfaces of CUDA, NCCL and NCCL EP only: `c_program [ranks]`, one process per rank (4 if not
 * said). Low latency eager, captured and with a masked rank; high throughput eager and captured. Prints one line per part and
 * ends with 0 if every rank found what it expected.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/cuda_runtime.h"
#include "abi/nccl.h"
#include "abi/nccl_ep.h"

enum { EXPERTS_PER_RANK = 4, TOKENS = 8, TOPK = 2, HIDDEN = 512, MAX_RANKS = 16 };

static int rank_of_process;

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      fprintf(stderr, "rank %d, line %d: %s\n", rank_of_process, __LINE__, #condition);        \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)

/* ---- descriptors ---- */

typedef struct {
  ncclEpTensor_t tensor;
  size_t sizes[3];
} Tensor;

static size_t element_bytes(ncclDataType_t type) {
  switch (type) {
    case ncclInt64: return 8;
    case ncclBfloat16: return 2;
    default: return 4;
  }
}

static size_t tensor_bytes(const Tensor* t) {
  size_t bytes = element_bytes(t->tensor.datatype);
  for (unsigned i = 0; i < t->tensor.ndim; ++i) bytes *= t->sizes[i];
  return bytes;
}

/* Device memory for a tensor of up to three dimensions; a size of 0 ends them. */
static void make_tensor(Tensor* t, ncclDataType_t type, size_t a, size_t b, size_t c) {
  memset(t, 0, sizeof *t);
  t->sizes[0] = a;
  t->sizes[1] = b;
  t->sizes[2] = c;
  t->tensor.size = sizeof t->tensor;
  t->tensor.magic = NCCL_EP_TENSOR_MAGIC;
  t->tensor.ndim = c != 0 ? 3 : b != 0 ? 2 : 1;
  t->tensor.datatype = type;
  t->tensor.sizes = t->sizes;
  CHECK(cudaMalloc(&t->tensor.data, tensor_bytes(t)) == cudaSuccess);
}

static void free_tensor(Tensor* t) { CHECK(cudaFree(t->tensor.data) == cudaSuccess); }

static void upload(Tensor* t, const void* from) {
  CHECK(cudaMemcpy(t->tensor.data, from, tensor_bytes(t), cudaMemcpyHostToDevice) == cudaSuccess);
}

static void download(const Tensor* t, void* to) {
  CHECK(cudaMemcpy(to, t->tensor.data, tensor_bytes(t), cudaMemcpyDeviceToHost) == cudaSuccess);
}

#define INIT(object)                                \
  do {                                              \
    memset(&(object), 0, sizeof(object));           \
    (object).size = (unsigned int)sizeof(object);   \
    (object).magic = NCCL_EP_MAGIC;                 \
  } while (0)

static uint16_t bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)(bits >> 16);
}

static float from_bf16(uint16_t value) {
  const uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

/* ---- one rank ---- */

typedef struct {
  int rank, ranks, experts;
  ncclComm_t comm;
  cudaStream_t stream;
  Tensor topk, weights, tokens, combined;
} Rank;

/* Token t of a rank goes to two experts of different ranks and carries this value. */
static float value_of(int rank, int token) { return (float)(rank * 16 + token + 1); }
static int64_t expert_of(const Rank* self, int token, int k, int step) {
  const int owner = (self->rank + token + k + step) % self->ranks;
  return (int64_t)owner * EXPERTS_PER_RANK + token % EXPERTS_PER_RANK;
}

static void load(Rank* self, int step) {
  static int64_t ids[TOKENS * TOPK];
  static uint16_t rows[TOKENS * HIDDEN];
  for (int t = 0; t < TOKENS; ++t) {
    for (int k = 0; k < TOPK; ++k) ids[t * TOPK + k] = expert_of(self, t, k, step);
    for (int h = 0; h < HIDDEN; ++h) rows[t * HIDDEN + h] = bf16(value_of(self->rank, t));
  }
  upload(&self->topk, ids);
  upload(&self->tokens, rows);
}

/* Every row of the combined output holds factor(token) times its value. */
static void expect_combined(Rank* self, float (*factor)(const Rank*, int token, int step), int step) {
  static uint16_t rows[TOKENS * HIDDEN];
  download(&self->combined, rows);
  for (int t = 0; t < TOKENS; ++t) {
    const float expected = factor(self, t, step) * value_of(self->rank, t);
    for (int h = 0; h < HIDDEN; ++h) CHECK(from_bf16(rows[t * HIDDEN + h]) == expected);
  }
}

static float both_experts(const Rank* self, int token, int step) {
  (void)self;
  (void)token;
  (void)step;
  return 2.0f;
}

static float without_last_rank(const Rank* self, int token, int step) {
  float sum = 0.0f;
  for (int k = 0; k < TOPK; ++k) {
    if (expert_of(self, token, k, step) / EXPERTS_PER_RANK != self->ranks - 1) sum += 1.0f;
  }
  return sum;
}

static ncclEpGroupConfig_t group_config(const Rank* self, ncclEpAlgorithm_t algorithm) {
  ncclEpGroupConfig_t config;
  INIT(config);
  config.version = NCCL_EP_API_VERSION;
  config.algorithm = algorithm;
  config.num_experts = (unsigned int)self->experts;
  config.max_dispatch_tokens_per_rank = TOKENS;
  config.max_token_bytes = HIDDEN * 2;
  return config;
}

static void begin_capture(Rank* self) {
  CHECK(cudaStreamBeginCapture(self->stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
}

static cudaGraphExec_t end_capture(Rank* self) {
  cudaGraph_t graph = NULL;
  cudaGraphExec_t exec = NULL;
  CHECK(cudaStreamEndCapture(self->stream, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  return exec;
}

static void launch(Rank* self, cudaGraphExec_t exec) {
  CHECK(cudaGraphLaunch(exec, self->stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
}

static void meet(Rank* self) {
  CHECK(ncclAllReduce(self->weights.tensor.data, self->weights.tensor.data, 1, ncclFloat32, ncclMax, self->comm, self->stream) == ncclSuccess);
  CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
}

/* ---- low latency ---- */

static void low_latency(Rank* self) {
  ncclEpGroupConfig_t config = group_config(self, NCCL_EP_ALGO_LOW_LATENCY);
  ncclEpGroup_t group = NULL;
  ncclEpHandle_t handle = NULL;
  const int last = self->ranks - 1;
  config.enable_mask = 1;
  config.timeout_ns = 2000000000u;
  CHECK(ncclEpCreateGroup(&group, self->comm, &config) == ncclSuccess);
  CHECK(ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_EXPERT_MAJOR, NULL, TOPK, NULL) == ncclSuccess);

  Tensor received, counters;
  make_tensor(&received, ncclBfloat16, EXPERTS_PER_RANK, (size_t)self->ranks * TOKENS, HIDDEN);
  make_tensor(&counters, ncclInt32, EXPERTS_PER_RANK, 0, 0);
  ncclEpDispatchInputs_t inputs;
  ncclEpDispatchOutputs_t outputs;
  ncclEpLayoutInfo_t info;
  ncclEpCombineInputs_t back;
  ncclEpCombineOutputs_t home;
  INIT(inputs);
  INIT(outputs);
  INIT(info);
  INIT(back);
  INIT(home);
  inputs.tokens = &self->tokens.tensor;
  outputs.tokens = &received.tensor;
  info.expert_counters = &counters.tensor;
  back.tokens = &received.tensor; /* the experts change nothing */
  home.tokens = &self->combined.tensor;
  home.topk_weights = &self->weights.tensor;

  load(self, 0);
  CHECK(ncclEpUpdateHandle(handle, &self->topk.tensor, NULL, self->stream) == ncclSuccess);
  CHECK(ncclEpDispatch(handle, &inputs, &outputs, &info, NULL, self->stream) == ncclSuccess);
  CHECK(ncclEpCombine(handle, &back, &home, NULL, self->stream) == ncclSuccess);
  CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
  expect_combined(self, both_experts, 0);
  int32_t counts[EXPERTS_PER_RANK];
  download(&counters, counts);
  int total = 0;
  for (int e = 0; e < EXPERTS_PER_RANK; ++e) total += counts[e];
  CHECK(total == TOKENS * TOPK); /* the routing is even */

  /* Staged, and the same graph for every routing. */
  ncclEpDispatchConfig_t staged;
  INIT(staged);
  staged.send_only = 1;
  begin_capture(self);
  CHECK(ncclEpDispatch(handle, &inputs, &outputs, &info, &staged, self->stream) == ncclSuccess);
  CHECK(ncclEpComplete(handle, NULL, self->stream) == ncclSuccess);
  CHECK(ncclEpCombine(handle, &back, &home, NULL, self->stream) == ncclSuccess);
  cudaGraphExec_t exec = end_capture(self);
  for (int step = 1; step <= 5; ++step) {
    load(self, step);
    launch(self, exec);
    expect_combined(self, both_experts, step);
  }
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);

  /* The last rank is masked for one step, and comes back. */
  int mask[MAX_RANKS];
  int status[MAX_RANKS];
  int error = -1;
  for (int r = 0; r < self->ranks; ++r) mask[r] = r != last;
  CHECK(ncclEpMaskUpdate(group, mask, self->stream) == ncclSuccess);
  if (self->rank != last) {
    CHECK(ncclEpDispatch(handle, &inputs, &outputs, &info, NULL, self->stream) == ncclSuccess);
    CHECK(ncclEpCombine(handle, &back, &home, NULL, self->stream) == ncclSuccess);
    CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
    expect_combined(self, without_last_rank, 5);
  }
  int* device_mask = NULL;
  CHECK(cudaMalloc((void**)&device_mask, sizeof mask) == cudaSuccess);
  CHECK(ncclEpMaskQuery(group, device_mask, self->stream) == ncclSuccess);
  CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
  CHECK(cudaMemcpy(status, device_mask, (size_t)self->ranks * sizeof(int), cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(memcmp(status, mask, (size_t)self->ranks * sizeof(int)) == 0);
  CHECK(ncclEpGetAsyncError(group, &error) == ncclSuccess);
  CHECK(error == 0);
  meet(self);
  CHECK(ncclEpMaskClean(group, self->stream) == ncclSuccess);
  CHECK(ncclEpErrorClear(group) == ncclSuccess);
  meet(self);
  CHECK(ncclEpDispatch(handle, &inputs, &outputs, &info, NULL, self->stream) == ncclSuccess);
  CHECK(ncclEpCombine(handle, &back, &home, NULL, self->stream) == ncclSuccess);
  CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
  expect_combined(self, both_experts, 5);

  CHECK(cudaFree(device_mask) == cudaSuccess);
  free_tensor(&received);
  free_tensor(&counters);
  CHECK(ncclEpHandleDestroy(handle) == ncclSuccess);
  CHECK(ncclEpGroupDestroy(group) == ncclSuccess);
}

/* ---- high throughput ---- */

static void high_throughput(Rank* self) {
  const size_t budget = (size_t)self->ranks * TOKENS;
  ncclEpGroupConfig_t config = group_config(self, NCCL_EP_ALGO_HIGH_THROUGHPUT);
  ncclEpGroup_t group = NULL;
  ncclEpHandle_t handle = NULL;
  config.max_recv_tokens_per_rank = (unsigned int)budget;
  CHECK(ncclEpCreateGroup(&group, self->comm, &config) == ncclSuccess);
  load(self, 0);
  ncclEpLayoutInfo_t info;
  INIT(info);
  Tensor total;
  make_tensor(&total, ncclInt32, 1, 0, 0);
  info.recv_total_counter = &total.tensor;
  CHECK(ncclEpCreateHandle(&handle, group, NCCL_EP_LAYOUT_FLAT, &self->topk.tensor, &info, NULL, self->stream) == ncclSuccess);

  Tensor received, weights, ids;
  make_tensor(&received, ncclBfloat16, budget, HIDDEN, 0);
  make_tensor(&weights, ncclFloat32, budget, TOPK, 0);
  make_tensor(&ids, ncclInt64, budget, TOPK, 0);
  ncclEpDispatchInputs_t inputs;
  ncclEpDispatchOutputs_t outputs;
  ncclEpCombineInputs_t back;
  ncclEpCombineOutputs_t home;
  INIT(inputs);
  INIT(outputs);
  INIT(back);
  INIT(home);
  inputs.tokens = &self->tokens.tensor;
  inputs.topk_weights = &self->weights.tensor;
  outputs.tokens = &received.tensor;
  outputs.topk_weights = &weights.tensor;
  outputs.topk_idx = &ids.tensor;
  back.tokens = &received.tensor;
  home.tokens = &self->combined.tensor;
  CHECK(ncclEpDispatch(handle, &inputs, &outputs, NULL, NULL, self->stream) == ncclSuccess);
  CHECK(ncclEpCombine(handle, &back, &home, NULL, self->stream) == ncclSuccess);
  CHECK(cudaStreamSynchronize(self->stream) == cudaSuccess);
  expect_combined(self, both_experts, 0); /* two ranks returned the row */
  int32_t count = 0;
  download(&total, &count);
  CHECK(count == TOKENS * TOPK);

  begin_capture(self);
  CHECK(ncclEpUpdateHandle(handle, &self->topk.tensor, &info, self->stream) == ncclSuccess);
  CHECK(ncclEpDispatch(handle, &inputs, &outputs, NULL, NULL, self->stream) == ncclSuccess);
  CHECK(ncclEpCombine(handle, &back, &home, NULL, self->stream) == ncclSuccess);
  cudaGraphExec_t exec = end_capture(self);
  for (int step = 1; step <= 5; ++step) {
    load(self, step);
    launch(self, exec);
    expect_combined(self, both_experts, step);
  }
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
  free_tensor(&total);
  free_tensor(&received);
  free_tensor(&weights);
  free_tensor(&ids);
  CHECK(ncclEpHandleDestroy(handle) == ncclSuccess);
  CHECK(ncclEpGroupDestroy(group) == ncclSuccess);
}

static void run_rank(int rank, int ranks, const ncclUniqueId* id) {
  Rank self;
  memset(&self, 0, sizeof self);
  rank_of_process = rank;
  self.rank = rank;
  self.ranks = ranks;
  self.experts = ranks * EXPERTS_PER_RANK;
  CHECK(cudaSetDevice(rank) == cudaSuccess);
  CHECK(ncclCommInitRank(&self.comm, ranks, *id, rank) == ncclSuccess);
  CHECK(cudaStreamCreate(&self.stream) == cudaSuccess);
  make_tensor(&self.topk, ncclInt64, TOKENS, TOPK, 0);
  make_tensor(&self.weights, ncclFloat32, TOKENS, TOPK, 0);
  make_tensor(&self.tokens, ncclBfloat16, TOKENS, HIDDEN, 0);
  make_tensor(&self.combined, ncclBfloat16, TOKENS, HIDDEN, 0);
  float ones[TOKENS * TOPK];
  for (int i = 0; i < TOKENS * TOPK; ++i) ones[i] = 1.0f;
  upload(&self.weights, ones);

  int version = 0;
  CHECK(ncclEpGetVersion(&version) == ncclSuccess);
  CHECK(version == NCCL_EP_VERSION_CODE);
  low_latency(&self);
  if (rank == 0) printf("low latency: eager, staged, captured, masked: ok\n");
  high_throughput(&self);
  if (rank == 0) printf("high throughput: eager, captured: ok\n");

  free_tensor(&self.topk);
  free_tensor(&self.weights);
  free_tensor(&self.tokens);
  free_tensor(&self.combined);
  CHECK(cudaStreamDestroy(self.stream) == cudaSuccess);
  CHECK(ncclCommDestroy(self.comm) == ncclSuccess);
}

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? atoi(argv[1]) : 4;
  int pipes[MAX_RANKS][2];
  pid_t children[MAX_RANKS];
  int failed = 0;
  if (ranks < 2 || ranks > MAX_RANKS) {
    fprintf(stderr, "2 to %d ranks\n", MAX_RANKS);
    return 2;
  }
  for (int r = 0; r < ranks; ++r) {
    if (pipe(pipes[r]) != 0) return 2;
  }
  for (int r = 0; r < ranks; ++r) {
    children[r] = fork();
    if (children[r] < 0) return 2;
    if (children[r] != 0) continue;
    ncclUniqueId id;
    rank_of_process = r;
    if (r == 0) { /* the first rank makes the id and hands it to the others */
      CHECK(ncclGetUniqueId(&id) == ncclSuccess);
      for (int other = 1; other < ranks; ++other) CHECK(write(pipes[other][1], &id, sizeof id) == (ssize_t)sizeof id);
    } else {
      CHECK(read(pipes[r][0], &id, sizeof id) == (ssize_t)sizeof id);
    }
    run_rank(r, ranks, &id);
    fflush(stdout);
    _exit(0);
  }
  for (int r = 0; r < ranks; ++r) {
    int status = 0;
    if (waitpid(children[r], &status, 0) != children[r] || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      fprintf(stderr, "rank %d failed\n", r);
      failed = 1;
    }
  }
  if (!failed) printf("%d processes: ok\n", ranks);
  return failed;
}
