// The C interface of NCCL EP.
#include <cstdio>

#include "ep/entry.h"
#include "ep/environment.h"
#include "ep/operations.h"
#include "ep/release.h"
#include "ep/structs.h"

namespace ep = emu::ep;
using ep::describe;
using ep::entry;
using ep::typeName;

namespace {

__attribute__((constructor)) void printBanner() {
  if (!ep::environment::flag("NCCL_EP_DEBUG")) return;
  const int version = emu::options::epVersion();
  std::fprintf(stderr, "nccl4j emulator: NCCL EP %d.%d.%d\n", version / 10000, version / 100 % 100, version % 100);
}

// For descriptors that are not looked into.
const void* address(const void* pointer) { return pointer; }

ncclResult_t getVersion(ep::Call& call, int* version) {
  if (version == nullptr) return call.invalidArgument("version is NULL");
  if (!emu::given(version)) return call.undefined("version cannot be written");
  *version = emu::options::epVersion();
  return ncclSuccess;
}

}  // namespace

EMU_API ncclResult_t ncclEpGetVersion(int* version) { return EMU_CALL(entry, (version), getVersion(call, version)); }

EMU_API ncclResult_t ncclEpTensorAlloc(ncclEpTensor_t** tensor, unsigned int ndim, ncclDataType_t datatype,
                                       const size_t* sizes, const ncclEpTensorAllocConfig_t* config) {
  return EMU_CALL(entry, (tensor, ndim, typeName(datatype), config),
                  ep::tensorAlloc(call, tensor, ndim, datatype, sizes, config));
}

EMU_API ncclResult_t ncclEpTensorDestroy(ncclEpTensor_t* tensor) {
  return EMU_CALL(entry, (address(tensor)), ep::tensorDestroy(tensor));
}

EMU_API ncclResult_t ncclEpCreateGroup(ncclEpGroup_t* ep_group, ncclComm_t comm, const ncclEpGroupConfig_t* config) {
  return EMU_CALL(entry, (ep_group, comm, config), ep::createGroup(call, ep_group, comm, config));
}

EMU_API ncclResult_t ncclEpGroupDestroy(ncclEpGroup_t ep_group) {
  return EMU_CALL(entry, (ep_group), ep::destroyGroup(call, ep_group));
}

EMU_API ncclResult_t ncclEpHandleMemSize(ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                                         const ncclEpHandleConfig_t* config, size_t* size_out, int num_topk) {
  return EMU_CALL(entry, (ep_group, layout, config, size_out, num_topk),
                  ep::handleMemSize(call, ep_group, layout, config, size_out, num_topk));
}

EMU_API ncclResult_t ncclEpInitHandle(ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                                      const ncclEpHandleConfig_t* config, int num_topk,
                                      const ncclEpTensor_t* handle_mem) {
  return EMU_CALL(entry, (handle, ep_group, layout, config, num_topk, handle_mem),
                  ep::initHandle(call, handle, ep_group, layout, config, num_topk, handle_mem));
}

EMU_API ncclResult_t ncclEpUpdateHandle(ncclEpHandle_t handle, const ncclEpTensor_t* topk_idx,
                                        const ncclEpLayoutInfo_t* layout_info, cudaStream_t stream) {
  return EMU_CALL(entry, (handle, topk_idx, layout_info, stream),
                  ep::updateHandle(call, handle, topk_idx, layout_info, stream));
}

EMU_API ncclResult_t ncclEpCreateHandle(ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                                        const ncclEpTensor_t* topk_idx, const ncclEpLayoutInfo_t* layout_info,
                                        const ncclEpHandleConfig_t* config, cudaStream_t stream) {
  return EMU_CALL(entry, (handle, ep_group, layout, topk_idx, layout_info, config, stream),
                  ep::createHandle(call, handle, ep_group, layout, topk_idx, layout_info, config, stream));
}

EMU_API ncclResult_t ncclEpHandleDestroy(ncclEpHandle_t handle) {
  return EMU_CALL(entry, (handle), ep::destroyHandle(call, handle));
}

EMU_API ncclResult_t ncclEpDispatch(ncclEpHandle_t handle, const ncclEpDispatchInputs_t* inputs,
                                    const ncclEpDispatchOutputs_t* outputs, const ncclEpLayoutInfo_t* layout_info,
                                    const ncclEpDispatchConfig_t* config, cudaStream_t stream) {
  return EMU_CALL(entry, (handle, inputs, outputs, layout_info, config, stream),
                  ep::dispatch(call, handle, inputs, outputs, layout_info, config, stream));
}

EMU_API ncclResult_t ncclEpCombine(ncclEpHandle_t handle, const ncclEpCombineInputs_t* inputs,
                                   const ncclEpCombineOutputs_t* outputs, const ncclEpCombineConfig_t* config,
                                   cudaStream_t stream) {
  return EMU_CALL(entry, (handle, inputs, outputs, config, stream),
                  ep::combine(call, handle, inputs, outputs, config, stream));
}

EMU_API ncclResult_t ncclEpComplete(ncclEpHandle_t handle, const ncclEpCompleteConfig_t* config, cudaStream_t stream) {
  return EMU_CALL(entry, (handle, config, stream), ep::complete(call, handle, config));
}

EMU_API ncclResult_t ncclEpMaskQuery(ncclEpGroup_t ep_group, int* mask_status, cudaStream_t stream) {
  return EMU_CALL(entry, (ep_group, mask_status, stream), ep::maskQuery(call, ep_group, mask_status, stream));
}

EMU_API ncclResult_t ncclEpMaskUpdate(ncclEpGroup_t ep_group, const int* mask, cudaStream_t stream) {
  return EMU_CALL(entry, (ep_group, mask, stream), ep::maskUpdate(call, ep_group, mask, stream));
}

EMU_API ncclResult_t ncclEpMaskClean(ncclEpGroup_t ep_group, cudaStream_t stream) {
  return EMU_CALL(entry, (ep_group, stream), ep::maskClean(call, ep_group, stream));
}

EMU_API ncclResult_t ncclEpGetAsyncError(ncclEpGroup_t ep_group, int* error_out) {
  return EMU_CALL(entry, (ep_group, error_out), ep::getAsyncError(call, ep_group, error_out));
}

EMU_API ncclResult_t ncclEpErrorClear(ncclEpGroup_t ep_group) {
  return EMU_CALL(entry, (ep_group), ep::errorClear(call, ep_group));
}
