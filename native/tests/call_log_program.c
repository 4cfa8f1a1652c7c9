/*
 * Calls every exported function once or more with fixed arguments, one rank alone, and prints the call log with addresses
 * replaced by numbers in the order of their appearance. `make check` compares the output with call_log.txt.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda_driver.h"
#include "abi/cuda_runtime.h"
#include "abi/nccl.h"
#include "abi/nccl_ep.h"
#include "nccl4j_emulator.h"

enum { EXPERTS = 4, TOKENS = 4, TOPK = 2, HIDDEN = 512, LOG_CAPACITY = 1024, MAX_ADDRESSES = 1024 };

#define INIT(object)                              \
  do {                                            \
    memset(&(object), 0, sizeof(object));         \
    (object).size = (unsigned int)sizeof(object); \
    (object).magic = NCCL_EP_MAGIC;               \
  } while (0)

/* Static, so that no two of them ever share an address. */
static cudaStream_t stream, second;
static cudaEvent_t begin_event, end_event;
static cudaGraph_t graph, child, copy;
static cudaGraphNode_t nodes[4], first_node, second_node;
static cudaGraphExec_t exec, other_exec;
static cudaMemPool_t pool;
static void *device_memory, *pinned, *other_pinned, *pooled, *window_memory, *address;
static char page[8192];
static char text[64];
static unsigned char host[4096];

static void host_function(void* data) { (void)data; }

/* ---- CUDA ---- */

static void devices(void) {
  static int number, other;
  cudaGetDeviceCount(&number);
  cudaSetDevice(0);
  cudaSetDevice(1000);
  cudaGetDevice(&number);
  cudaDeviceGetAttribute(&number, cudaDevAttrWarpSize, 0);
  cudaDeviceGetPCIBusId(text, sizeof text, 0);
  cudaDeviceGetByPCIBusId(&number, text);
  cudaDeviceGetStreamPriorityRange(&number, &other);
  cudaDeviceCanAccessPeer(&number, 0, 1);
  cudaDeviceEnablePeerAccess(1, 0);
  cudaDeviceSynchronize();
  cudaDriverGetVersion(&number);
  cudaRuntimeGetVersion(&number);
  cudaProfilerStart();
  cudaProfilerStop();
  cudaGetLastError();
  cudaPeekAtLastError();
  cudaGetErrorName(cudaSuccess);
  cudaGetErrorString(cudaSuccess);
}

static void memory(void) {
  static struct cudaPointerAttributes attributes;
  static size_t available, total;
  static uint64_t value;
  cudaMalloc(&device_memory, 4096);
  cudaMalloc(NULL, 4096);
  cudaMallocHost(&pinned, 4096);
  cudaHostAlloc(&other_pinned, 64, cudaHostAllocMapped);
  cudaHostRegister(page, sizeof page, cudaHostRegisterPortable);
  cudaHostUnregister(page);
  cudaHostGetDevicePointer(&address, pinned, 0);
  cudaPointerGetAttributes(&attributes, device_memory);
  cudaMemGetInfo(&available, &total);
  cudaDeviceGetDefaultMemPool(&pool, 0);
  cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &value);
  cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &value);
  cudaMemPoolTrimTo(pool, 0);
}

static void streams(void) {
  static int number;
  static unsigned flags;
  static unsigned long long id;
  static float milliseconds;
  cudaStreamCreate(&second);
  cudaStreamDestroy(second);
  cudaStreamCreateWithPriority(&second, cudaStreamNonBlocking, -1);
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(NULL, 1);
  cudaStreamGetDevice(stream, &number);
  cudaStreamGetFlags(stream, &flags);
  cudaStreamGetId(stream, &id);
  cudaStreamGetPriority(second, &number);
  cudaEventCreate(&begin_event);
  cudaEventCreateWithFlags(&end_event, cudaEventDefault);
  cudaEventRecord(begin_event, stream);
  cudaMemcpy(device_memory, host, sizeof host, cudaMemcpyHostToDevice);
  cudaMemcpyAsync(host, device_memory, sizeof host, cudaMemcpyDeviceToHost, stream);
  cudaMemcpyPeerAsync(device_memory, 0, device_memory, 0, 16, stream);
  cudaMemset(device_memory, 1, 64);
  cudaMemsetAsync(device_memory, 2, 64, stream);
  cudaMallocAsync(&pooled, 256, stream);
  cudaFreeAsync(pooled, stream);
  cudaLaunchHostFunc(stream, host_function, host);
  cudaEventRecordWithFlags(end_event, stream, cudaEventRecordDefault);
  cudaStreamWaitEvent(second, end_event, 0);
  cudaEventSynchronize(end_event);
  cudaEventQuery(end_event);
  cudaEventElapsedTime(&milliseconds, begin_event, end_event);
  cudaStreamSynchronize(stream);
  cudaStreamSynchronize(second);
  cudaStreamQuery(stream);
}

static void graphs(void) {
  static enum cudaStreamCaptureStatus status;
  static unsigned long long id;
  static enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  static enum cudaGraphNodeType type;
  static size_t count;
  static cudaGraphExecUpdateResultInfo info;
  cudaThreadExchangeStreamCaptureMode(&mode);
  cudaThreadExchangeStreamCaptureMode(&mode);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
  cudaMemsetAsync(device_memory, 3, 64, stream);
  cudaStreamIsCapturing(stream, &status);
  cudaStreamGetCaptureInfo(stream, &status, &id, NULL, NULL, NULL, NULL);
  cudaStreamEndCapture(stream, &child);
  cudaGraphCreate(&graph, 0);
  cudaGraphAddEmptyNode(&first_node, graph, NULL, 0);
  cudaGraphAddChildGraphNode(&second_node, graph, NULL, 0, child);
  cudaGraphAddDependencies(graph, &first_node, &second_node, NULL, 1);
  count = 4;
  cudaGraphGetNodes(graph, nodes, &count);
  cudaGraphGetEdges(graph, NULL, NULL, NULL, &count);
  cudaGraphNodeGetType(second_node, &type);
  cudaGraphClone(&copy, graph);
  cudaGraphDebugDotPrint(graph, "/dev/null", cudaGraphDebugDotFlagsVerbose);
  cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphInstantiateWithFlags(&other_exec, graph, cudaGraphInstantiateFlagUseNodePriority);
  cudaGraphUpload(exec, stream);
  cudaGraphLaunch(exec, stream);
  cudaGraphExecUpdate(exec, graph, &info);
  cudaStreamSynchronize(stream);
}

static int scale(const nccl4jEmuLaunch_t* launch, void* context) {
  (void)launch;
  (void)context;
  return cudaSuccess;
}

static void kernels(void) {
  static cudaLibrary_t library;
  static cudaKernel_t kernel;
  static unsigned count;
  static const char* name;
  static size_t offset, size;
  static struct cudaFuncAttributes attributes;
  static int blocks, number = 3;
  static const nccl4jEmuParameter_t parameters[1] = {{0, sizeof number}};
  static void* arguments[1] = {&number};
  cudaLaunchConfig_t config;
  memset(&config, 0, sizeof config);
  config.gridDim.x = config.gridDim.y = config.gridDim.z = 1;
  config.blockDim.x = config.blockDim.y = config.blockDim.z = 2;
  config.stream = stream;
  nccl4jEmuRegisterKernel("scale", parameters, 1, scale, NULL);
  cudaLibraryLoadData(&library, ".version 9.0", NULL, NULL, 0, NULL, NULL, 0);
  cudaLibraryGetKernelCount(&count, library);
  cudaLibraryEnumerateKernels(&kernel, 1, library);
  cudaLibraryGetKernel(&kernel, library, "none");
  cudaLibraryGetKernel(&kernel, library, "scale");
  cudaFuncGetName(&name, kernel);
  cudaFuncGetParamInfo(kernel, 0, &offset, &size);
  cudaFuncGetParamInfo(kernel, 1, &offset, &size);
  cudaFuncGetAttributes(&attributes, kernel);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 65536);
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 128, 65536);
  cudaLaunchKernelExC(&config, kernel, arguments);
  cudaLaunchKernelExC(NULL, kernel, arguments);
  cudaLaunchKernelExC(&config, NULL, arguments);
  cudaStreamSynchronize(stream);
  cudaLibraryUnload(library);
}

/* ---- NCCL ---- */

static ncclComm_t comm, made[4];

static void communicators(void) {
  static ncclUniqueId id;
  static ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  static ncclSimInfo_t simulated = NCCL_SIM_INFO_INITIALIZER;
  static int number, excluded;
  static uint64_t statistic;
  static ncclResult_t error;
  static const int list[1] = {0};
  config.blocking = 1;
  config.commName = "fixed";
  ncclGetVersion(&number);
  ncclGetErrorString(ncclSuccess);
  ncclGetUniqueId(&id);
  ncclCommInitRank(&comm, 1, id, 0);
  ncclGetUniqueId(&id);
  ncclCommInitRankConfig(&made[0], 1, id, 0, &config);
  ncclGetUniqueId(&id);
  ncclCommInitRankScalable(&made[1], 1, 0, 1, &id, &config);
  ncclCommInitAll(&made[2], 1, list);
  ncclCommSplit(comm, 0, 0, &made[3], NULL);
  ncclCommInitRank(NULL, 1, id, 5);
  ncclGetLastError(comm);
  ncclCommCount(comm, &number);
  ncclCommCuDevice(comm, &number);
  ncclCommUserRank(comm, &number);
  ncclCommGetAsyncError(comm, &error);
  ncclCommMemStats(comm, ncclStatGpuMemTotal, &statistic);
  ncclCommSuspend(made[0], NCCL_SUSPEND_MEM);
  ncclCommResume(made[0]);
  ncclCommFinalize(made[0]);
  ncclCommRevoke(comm, 0);
  ncclCommShrink(comm, &excluded, 1, &made[0], NULL, 0);
  ncclCommGetUniqueId(comm, &id);
  ncclCommGrow(comm, 2, &id, 1, &made[0], NULL);
  ncclGroupStart();
  ncclGroupSimulateEnd(&simulated);
}

static void collectives(void) {
  static ncclRedOp_t op;
  static float scalar = 2.0f;
  static ncclWindow_t window;
  static void* registration;
  static ncclWaitSignalDesc_t signal;
  float* at = device_memory;
  ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat32, ncclScalarHostImmediate, comm);
  ncclAllGather(at, at, 4, ncclFloat32, comm, stream);
  ncclAllReduce(at, at + 8, 4, ncclFloat32, op, comm, stream);
  ncclAllReduce(at, at + 8, 4, ncclFloat16, ncclAvg, comm, stream);
  ncclAlltoAll(at, at + 8, 4, ncclInt8, comm, stream);
  ncclBcast(at, 4, ncclUint64, 0, comm, stream);
  ncclBroadcast(at, at, 4, ncclBfloat16, 0, comm, stream);
  ncclGather(at, at, 4, ncclFloat64, 0, comm, stream);
  ncclReduce(at, at, 4, ncclInt32, ncclSum, 0, comm, stream);
  ncclReduceScatter(at, at, 4, ncclFloat8e4m3, ncclMax, comm, stream);
  ncclScatter(at, at, 4, (ncclDataType_t)77, 0, comm, stream);
  ncclGroupStart();
  ncclSend(at, 4, ncclUint8, 0, comm, stream);
  ncclRecv(at + 8, 4, ncclUint8, 0, comm, stream);
  ncclGroupEnd();
  ncclRedOpDestroy(op, comm);
  ncclMemAlloc(&window_memory, 4096);
  ncclCommRegister(comm, window_memory, 4096, &registration);
  ncclCommDeregister(comm, registration);
  ncclCommWindowRegister(comm, window_memory, 4096, &window, NCCL_WIN_COLL_SYMMETRIC);
  ncclWinGetUserPtr(comm, window, &address);
  ncclPutSignal(at, 4, ncclFloat32, 0, window, 0, 0, 0, 0, comm, stream);
  ncclSignal(0, 0, 0, 0, comm, stream);
  ncclWaitSignal(1, &signal, comm, stream);
  ncclCommWindowDeregister(comm, window);
  cudaStreamSynchronize(stream);
}

/* ---- NCCL EP ---- */

static size_t sizes[8][3];

static ncclEpTensor_t tensor(int index, ncclDataType_t type, size_t bytes, size_t a, size_t b, size_t c) {
  ncclEpTensor_t made_tensor;
  memset(&made_tensor, 0, sizeof made_tensor);
  sizes[index][0] = a;
  sizes[index][1] = b;
  sizes[index][2] = c;
  made_tensor.size = sizeof made_tensor;
  made_tensor.magic = NCCL_EP_TENSOR_MAGIC;
  made_tensor.ndim = c != 0 ? 3 : b != 0 ? 2 : 1;
  made_tensor.datatype = type;
  made_tensor.sizes = sizes[index];
  cudaMalloc(&made_tensor.data, bytes * a * (b != 0 ? b : 1) * (c != 0 ? c : 1));
  return made_tensor;
}

static void expert_parallel(void) {
  static ncclEpGroup_t group;
  static ncclEpHandle_t handle, other;
  static ncclEpGroupConfig_t config;
  static ncclEpHandleConfig_t handle_config;
  static ncclEpTensor_t topk, weights, tokens, received, counters, combined;
  static ncclEpTensor_t* allocated;
  static ncclEpDispatchInputs_t inputs;
  static ncclEpDispatchOutputs_t outputs;
  static ncclEpLayoutInfo_t info;
  static ncclEpCombineInputs_t back;
  static ncclEpCombineOutputs_t home;
  static ncclEpDispatchConfig_t dispatch_config;
  static ncclEpCombineConfig_t combine_config;
  static ncclEpCompleteConfig_t complete_config;
  static int64_t ids[TOKENS * TOPK];
  static int number, mask[1] = {1};
  static size_t bytes;
  for (int i = 0; i < TOKENS * TOPK; ++i) ids[i] = i % EXPERTS;
  INIT(config);
  INIT(handle_config);
  INIT(inputs);
  INIT(outputs);
  INIT(info);
  INIT(back);
  INIT(home);
  INIT(dispatch_config);
  INIT(combine_config);
  INIT(complete_config);
  config.version = NCCL_EP_API_VERSION;
  config.algorithm = NCCL_EP_ALGO_LOW_LATENCY;
  config.num_experts = EXPERTS;
  config.max_dispatch_tokens_per_rank = TOKENS;
  config.max_token_bytes = HIDDEN * 2;
  config.enable_mask = 1;
  ncclEpGetVersion(&number);
  ncclEpTensorAlloc(&allocated, 3, ncclBfloat16, sizes[0], NULL);
  ncclEpTensorDestroy(allocated);
  ncclEpCreateGroup(&group, comm, &config);
  ncclEpHandleMemSize(group, NCCL_EP_LAYOUT_EXPERT_MAJOR, &handle_config, &bytes, TOPK);
  ncclEpInitHandle(&handle, group, NCCL_EP_LAYOUT_EXPERT_MAJOR, &handle_config, TOPK, NULL);
  topk = tensor(0, ncclInt64, 8, TOKENS, TOPK, 0);
  weights = tensor(1, ncclFloat32, 4, TOKENS, TOPK, 0);
  tokens = tensor(2, ncclBfloat16, 2, TOKENS, HIDDEN, 0);
  received = tensor(3, ncclBfloat16, 2, EXPERTS, TOKENS, HIDDEN);
  counters = tensor(4, ncclInt32, 4, EXPERTS, 0, 0);
  combined = tensor(5, ncclBfloat16, 2, TOKENS, HIDDEN, 0);
  cudaMemcpy(topk.data, ids, sizeof ids, cudaMemcpyHostToDevice);
  inputs.tokens = &tokens;
  outputs.tokens = &received;
  info.expert_counters = &counters;
  back.tokens = &received;
  home.tokens = &combined;
  home.topk_weights = &weights;
  ncclEpUpdateHandle(handle, &topk, NULL, stream);
  ncclEpCreateHandle(&other, group, NCCL_EP_LAYOUT_EXPERT_MAJOR, &topk, NULL, &handle_config, stream);
  ncclEpDispatch(handle, &inputs, &outputs, &info, &dispatch_config, stream);
  ncclEpCombine(handle, &back, &home, &combine_config, stream);
  combine_config.send_only = 1;
  ncclEpCombine(handle, &back, &home, &combine_config, stream);
  ncclEpComplete(handle, &complete_config, stream);
  ncclEpDispatch(handle, &inputs, NULL, &info, NULL, stream);
  ncclEpMaskUpdate(group, mask, stream);
  ncclEpMaskQuery(group, counters.data, stream);
  ncclEpMaskClean(group, stream);
  ncclEpGetAsyncError(group, &number);
  ncclEpErrorClear(group);
  cudaStreamSynchronize(stream);
  ncclEpHandleDestroy(other);
  ncclEpHandleDestroy(handle);
  ncclEpGroupDestroy(group);
}

static void end(void) {
  cudaGraphExecDestroy(exec);
  cudaGraphExecDestroy(other_exec);
  cudaGraphDestroy(graph);
  cudaGraphDestroy(graph);
  cudaEventDestroy(begin_event);
  cudaEventDestroy(end_event);
  ncclMemFree(window_memory);
  for (int i = 0; i < 4; ++i) ncclCommDestroy(made[i]);
  ncclCommAbort(comm);
  cudaFreeHost(pinned);
  cudaFreeHost(other_pinned);
  cudaFree(device_memory);
  cudaStreamDestroy(stream);
  cudaDeviceReset();
}

/* ---- what came later, so that the part above stays as it is ---- */

static void virtual_memory(void) {
  static const size_t piece = (size_t)2 << 20;
  static CUmemAllocationProp properties;
  static CUmemAccessDesc access;
  static CUmemGenericAllocationHandle handle;
  static CUdeviceptr base;
  static size_t granularity;
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  cuMemGetAllocationGranularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
  cuMemAddressReserve(&base, 2 * piece, 0, 0, 0);
  cuMemCreate(&handle, piece, &properties, 0);
  cuMemMap(base, piece, 0, handle, 0);
  cuMemSetAccess(base, piece, &access, 1);
  cuMemRelease(handle);
  cudaMemset((void*)base, 0, 64);
  cuMemUnmap(base, piece);
  cuMemAddressFree(base, 2 * piece);
}

static void teams(void) {
  static ncclUniqueId id;
  static ncclComm_t whole;
  static ncclWindow_t window;
  static ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
  ncclGetUniqueId(&id);
  ncclCommInitRank(&whole, 1, id, 0);
  ncclTeamWorld(whole);
  ncclTeamLsa(whole);
  ncclTeamRail(NULL);
  ncclCommQueryProperties(whole, &properties);
  ncclMemAlloc(&window_memory, 4096);
  ncclCommWindowRegister(whole, window_memory, 4096, &window, NCCL_WIN_DEFAULT);
  ncclGetPeerDevicePointer(window, 16, 0, &address);
  ncclGetLsaDevicePointer(window, 4096, 0, &address);
  ncclCommWindowDeregister(whole, window);
  ncclMemFree(window_memory);
  ncclCommDestroy(whole);
}

/* ---- the log ---- */

static unsigned long long addresses[MAX_ADDRESSES];

static size_t number_of(unsigned long long value) {
  size_t i = 0;
  while (i < MAX_ADDRESSES - 1 && addresses[i] != 0 && addresses[i] != value) ++i;
  addresses[i] = value;
  return i;
}

/* Addresses differ from run to run, and so do the digits of an id. */
static void print_arguments(const char* arguments) {
  while (*arguments != '\0') {
    char* after = NULL;
    if (strncmp(arguments, "commId=", 7) == 0) {
      fputs("commId=digits", stdout);
      arguments += 7;
      arguments += strcspn(arguments, " ");
    } else if (strncmp(arguments, "0x", 2) == 0 && strlen(arguments) > 2) {
      printf("@%zu", number_of(strtoull(arguments, &after, 16)));
      arguments = after;
    } else {
      putchar(*arguments++);
    }
  }
}

int main(void) {
  static nccl4jEmuCall_t calls[LOG_CAPACITY];
  nccl4jEmuSetOption("misuse", "report");
  nccl4jEmuSetOption("devices", "2");
  nccl4jEmuCallLog(LOG_CAPACITY);
  devices();
  memory();
  streams();
  graphs();
  communicators();
  collectives();
  expert_parallel();
  kernels();
  end();
  virtual_memory();
  teams();
  const size_t count = nccl4jEmuCalls(0, calls, LOG_CAPACITY);
  for (size_t i = 0; i < count; ++i) {
    printf("%s [%d] device %d rank %d: ", calls[i].function, calls[i].result, calls[i].device, calls[i].rank);
    print_arguments(calls[i].arguments);
    putchar('\n');
  }
  return 0;
}
