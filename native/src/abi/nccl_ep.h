/*
 * Binary interface of NCCL EP: API v2, whose structs begin with those of release 0.1.0 (API v1).
 * Usable from C11 and C++17.
 */
#ifndef NCCL4J_ABI_NCCL_EP_H
#define NCCL4J_ABI_NCCL_EP_H

#include <stddef.h>
#include <stdint.h>

#include "cuda_runtime.h"
#include "nccl.h"

#define NCCL_EP_MAJOR 0
#define NCCL_EP_MINOR 1
#define NCCL_EP_PATCH 0
#define NCCL_EP_VERSION_CODE (NCCL_EP_MAJOR * 10000 + NCCL_EP_MINOR * 100 + NCCL_EP_PATCH)
#define NCCL_EP_API_VERSION 2

#define NCCL_EP_MAGIC 0xC00FFFEEu        /* every struct but the tensor */
#define NCCL_EP_TENSOR_MAGIC 0xCAFECAFEu /* tensor descriptors that the caller declares itself */

/* Two 4-bit floats per byte; NCCL itself has no name for the value. */
#ifndef ncclFloat4x2
#define ncclFloat4x2 ((ncclDataType_t)12)
#endif

typedef NCCL4J_ENUM(ncclEpAlgorithm) { NCCL_EP_ALGO_LOW_LATENCY = 0, NCCL_EP_ALGO_HIGH_THROUGHPUT = 1 } ncclEpAlgorithm_t;

typedef NCCL4J_ENUM(ncclEpLayout) {
  NCCL_EP_LAYOUT_UNSET = 0,
  NCCL_EP_LAYOUT_EXPERT_MAJOR = 1,
  NCCL_EP_LAYOUT_RANK_MAJOR = 2, /* LL */
  NCCL_EP_LAYOUT_FLAT = 3        /* HT */
} ncclEpLayout_t;

typedef NCCL4J_ENUM(ncclEpPassDir) { NCCL_EP_FWD_PASS = 0, NCCL_EP_BWD_PASS = 1 } ncclEpPassDir_t;

/* Since v2. */
typedef NCCL4J_ENUM(ncclEpOverflowPolicy) {
  NCCL_EP_OVERFLOW_AUTO = 0,
  NCCL_EP_OVERFLOW_TRAP = 1,
  NCCL_EP_OVERFLOW_DROP = 2
} ncclEpOverflowPolicy_t;

typedef NCCL4J_ENUM(ncclEpZeroCopyMode) {
  NCCL_EP_ZERO_COPY_AUTO = 0,
  NCCL_EP_ZERO_COPY_OFF = 1,
  NCCL_EP_ZERO_COPY_ON = 2
} ncclEpZeroCopyMode_t;

typedef NCCL4J_ENUM(ncclEpExpertIdKind) {
  NCCL_EP_EXPERT_ID_AUTO = 0,
  NCCL_EP_EXPERT_ID_LOCAL = 1,
  NCCL_EP_EXPERT_ID_GLOBAL = 2
} ncclEpExpertIdKind_t;

typedef NCCL4J_ENUM(ncclEpDispQuant) {
  NCCL_EP_DISP_QUANT_NONE = 0,
  NCCL_EP_DISP_QUANT_FWD = 1,
  NCCL_EP_DISP_QUANT_DS_FP8E3M4 = 2
} ncclEpDispQuant_t;

typedef NCCL4J_ENUM(ncclEpCombQuant) { NCCL_EP_COMB_QUANT_NONE = 0, NCCL_EP_COMB_QUANT_NVFP4 = 1 } ncclEpCombQuant_t;

/* `size` is the size of the struct as its user knows it, `magic` the cookie above. "| v2": fields that 0.1.0 lacks. */

typedef struct ncclEpTensor {
  unsigned int size;
  unsigned int magic;
  unsigned int ndim;
  ncclDataType_t datatype;
  void* data;      /* device address; may be NULL with a window, or when some extent is 0 */
  ncclWindow_t win_hdl;
  uint64_t win_offset;   /* bytes */
  size_t* sizes;     /* ndim extents */
} ncclEpTensor_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
} ncclEpTensorAllocConfig_t;

typedef cudaError_t (*ncclEpAllocFn_t)(void** ptr, size_t size, void* context);
typedef cudaError_t (*ncclEpFreeFn_t)(void* ptr, void* context);

typedef struct {
  ncclEpAllocFn_t alloc_fn;
  ncclEpFreeFn_t free_fn;
  void* context;
} ncclEpAllocConfig_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  unsigned int version;
  ncclEpAlgorithm_t algorithm;
  unsigned int num_experts;
  unsigned int max_dispatch_tokens_per_rank;
  unsigned int max_recv_tokens_per_rank;
  unsigned int max_token_bytes;
  unsigned long int rdma_buffer_size;
  unsigned int num_qp_per_rank;
  unsigned int num_channels;
  unsigned int max_num_sms;
  ncclEpAllocConfig_t alloc;
  unsigned int enable_mask;
  uint64_t timeout_ns;
  /* | v2 */
  ncclEpZeroCopyMode_t zero_copy;
  ncclEpOverflowPolicy_t overflow_policy;
  unsigned int num_topk;
  unsigned char padding_v2[4];
} ncclEpGroupConfig_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  ncclEpTensor_t* expert_counters;
  ncclEpTensor_t* src_rank_counters;
  ncclEpTensor_t* expert_offsets;
  ncclEpTensor_t* recv_total_counter;
  /* | v2 */
  ncclEpExpertIdKind_t recv_topk_idx_kind;
  unsigned char padding_v2[4];
} ncclEpLayoutInfo_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  ncclEpTensor_t* tokens;
  ncclEpTensor_t* topk_weights;
  ncclEpTensor_t* scales;
} ncclEpDispatchInputs_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  ncclEpTensor_t* tokens;
  ncclEpTensor_t* topk_weights;
  ncclEpTensor_t* scales;
  ncclEpTensor_t* topk_idx;
} ncclEpDispatchOutputs_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  ncclEpTensor_t* tokens;
  ncclEpTensor_t* topk_weights;
  /* | v2 */
  ncclEpTensor_t* scales;
} ncclEpCombineInputs_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  ncclEpTensor_t* tokens;
  ncclEpTensor_t* topk_weights; /* LL EXPERT_MAJOR: an input, the routing weights */
} ncclEpCombineOutputs_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  size_t dispatch_output_per_expert_alignment;
} ncclEpHandleConfig_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  unsigned int send_only;
  unsigned int round_scales;
  ncclEpPassDir_t pass_direction;
  /* | v2 */
  ncclEpDispQuant_t quant_recipe;
} ncclEpDispatchConfig_t;

typedef struct {
  unsigned int size;
  unsigned int magic;
  unsigned int send_only;
  ncclEpPassDir_t pass_direction;
  /* | v2 */
  ncclEpCombQuant_t quant_recipe;
} ncclEpCombineConfig_t;

typedef struct ncclEpCompleteConfig {
  unsigned int size;
  unsigned int magic;
} ncclEpCompleteConfig_t;

/* Sizes that 0.1.0 demands and that every later library accepts as a minimum. */
#define NCCL_EP_TENSOR_V1_SIZE 48u
#define NCCL_EP_TENSOR_ALLOC_CONFIG_V1_SIZE 8u
#define NCCL_EP_GROUP_CONFIG_V1_SIZE 96u
#define NCCL_EP_LAYOUT_INFO_V1_SIZE 40u
#define NCCL_EP_DISPATCH_INPUTS_V1_SIZE 32u
#define NCCL_EP_DISPATCH_OUTPUTS_V1_SIZE 40u
#define NCCL_EP_COMBINE_INPUTS_V1_SIZE 24u
#define NCCL_EP_COMBINE_OUTPUTS_V1_SIZE 24u
#define NCCL_EP_HANDLE_CONFIG_V1_SIZE 16u
#define NCCL_EP_DISPATCH_CONFIG_V1_SIZE 20u
#define NCCL_EP_COMBINE_CONFIG_V1_SIZE 16u
#define NCCL_EP_COMPLETE_CONFIG_V1_SIZE 8u
#define NCCL_EP_GROUP_CONFIG_V2_SIZE 112u
#define NCCL_EP_LAYOUT_INFO_V2_SIZE 48u
#define NCCL_EP_COMBINE_INPUTS_V2_SIZE 32u
#define NCCL_EP_DISPATCH_CONFIG_V2_SIZE 24u
#define NCCL_EP_COMBINE_CONFIG_V2_SIZE 20u

typedef struct ncclEpGroup* ncclEpGroup_t;
typedef struct ncclEpHandle* ncclEpHandle_t;

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

ncclResult_t ncclEpGetVersion(int* version);

ncclResult_t ncclEpTensorAlloc(ncclEpTensor_t** tensor, unsigned int ndim, ncclDataType_t datatype, const size_t* sizes,
                 const ncclEpTensorAllocConfig_t* config);
ncclResult_t ncclEpTensorDestroy(ncclEpTensor_t* tensor);

ncclResult_t ncclEpCreateGroup(ncclEpGroup_t* ep_group, ncclComm_t comm, const ncclEpGroupConfig_t* config);
ncclResult_t ncclEpGroupDestroy(ncclEpGroup_t ep_group);

ncclResult_t ncclEpHandleMemSize(ncclEpGroup_t ep_group, ncclEpLayout_t layout, const ncclEpHandleConfig_t* config,
                 size_t* size_out, int num_topk);
ncclResult_t ncclEpInitHandle(ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                const ncclEpHandleConfig_t* config, int num_topk, const ncclEpTensor_t* handle_mem);
ncclResult_t ncclEpUpdateHandle(ncclEpHandle_t handle, const ncclEpTensor_t* topk_idx,
                const ncclEpLayoutInfo_t* layout_info, cudaStream_t stream);
ncclResult_t ncclEpCreateHandle(ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                const ncclEpTensor_t* topk_idx, const ncclEpLayoutInfo_t* layout_info,
                const ncclEpHandleConfig_t* config, cudaStream_t stream);
ncclResult_t ncclEpHandleDestroy(ncclEpHandle_t handle);

ncclResult_t ncclEpDispatch(ncclEpHandle_t handle, const ncclEpDispatchInputs_t* inputs,
              const ncclEpDispatchOutputs_t* outputs, const ncclEpLayoutInfo_t* layout_info,
              const ncclEpDispatchConfig_t* config, cudaStream_t stream);
ncclResult_t ncclEpCombine(ncclEpHandle_t handle, const ncclEpCombineInputs_t* inputs,
               const ncclEpCombineOutputs_t* outputs, const ncclEpCombineConfig_t* config,
               cudaStream_t stream);
ncclResult_t ncclEpComplete(ncclEpHandle_t handle, const ncclEpCompleteConfig_t* config, cudaStream_t stream);

ncclResult_t ncclEpMaskQuery(ncclEpGroup_t ep_group, int* mask_status, cudaStream_t stream);   /* device memory */
ncclResult_t ncclEpMaskUpdate(ncclEpGroup_t ep_group, const int* mask, cudaStream_t stream);   /* host memory */
ncclResult_t ncclEpMaskClean(ncclEpGroup_t ep_group, cudaStream_t stream);
ncclResult_t ncclEpGetAsyncError(ncclEpGroup_t ep_group, int* error_out);
ncclResult_t ncclEpErrorClear(ncclEpGroup_t ep_group);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
