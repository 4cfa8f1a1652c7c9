// The C interface of NCCL EP.
#include <cstdio>
#include <string>

#include "abi/nccl_ep.h"
#include "base/calls.h"
#include "base/export.h"
#include "base/options.h"
#include "ep/combine.h"
#include "ep/dispatch.h"
#include "ep/environment.h"
#include "ep/group.h"
#include "ep/handle.h"
#include "ep/ll/mask.h"
#include "ep/structs.h"

namespace {

using emu::Arguments;
using emu::Function;
namespace ep = emu::ep;
using ep::describe;

// One exported call: `arguments` writes them to the log, `body` does the work.
template <class Describe, class Body>
ncclResult_t enter(Function& function, const Describe& arguments, const Body& body) {
  ep::Call call(function.name);
  return emu::api<ncclResult_t>(
      function,
      [&](Arguments& a) {
        arguments(a);
        call.describe(a);
      },
      [&] { return ep::guarded(call, [&] { return body(call); }); });
}

__attribute__((constructor)) void printBanner() {
  if (ep::environment::flag("NCCL_EP_DEBUG")) std::fprintf(stderr, "nccl4j emulator: NCCL EP %d.%d.%d\n", NCCL_EP_MAJOR, NCCL_EP_MINOR, NCCL_EP_PATCH);
}

}  // namespace

EMU_API ncclResult_t ncclEpGetVersion(int* version) {
  static Function function("ncclEpGetVersion");
  return enter(function, [&](Arguments& a) { a.pointer("version", version); },
               [&](ep::Call& call) {
                 if (version == nullptr) return call.invalidArgument("version is NULL");
                 if (!emu::given(version)) return call.undefined("version cannot be written");
                 *version = NCCL_EP_VERSION_CODE;
                 return ncclSuccess;
               });
}

EMU_API ncclResult_t ncclEpTensorAlloc(ncclEpTensor_t** tensor, unsigned int ndim, ncclDataType_t datatype, const size_t* sizes,
                                       const ncclEpTensorAllocConfig_t* config) {
  static Function function("ncclEpTensorAlloc");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("tensor", tensor);
                 a.number("ndim", ndim);
                 a.text("datatype", ep::typeName(datatype));
                 a.pointer("config", config);
               },
               [&](ep::Call& call) { return ep::tensorAlloc(call, tensor, ndim, datatype, sizes, config); });
}

EMU_API ncclResult_t ncclEpTensorDestroy(ncclEpTensor_t* tensor) {
  static Function function("ncclEpTensorDestroy");
  return enter(function, [&](Arguments& a) { a.pointer("tensor", tensor); },
               [&](ep::Call&) { return ep::tensorDestroy(tensor); });
}

EMU_API ncclResult_t ncclEpCreateGroup(ncclEpGroup_t* ep_group, ncclComm_t comm, const ncclEpGroupConfig_t* config) {
  static Function function("ncclEpCreateGroup");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("ep_group", ep_group);
                 a.pointer("comm", comm);
                 describe(a, "config", config);
               },
               [&](ep::Call& call) { return ep::createGroup(call, ep_group, comm, config); });
}

EMU_API ncclResult_t ncclEpGroupDestroy(ncclEpGroup_t ep_group) {
  static Function function("ncclEpGroupDestroy");
  return enter(function, [&](Arguments& a) { a.pointer("ep_group", ep_group); },
               [&](ep::Call& call) { return ep::destroyGroup(call, ep_group); });
}

EMU_API ncclResult_t ncclEpHandleMemSize(ncclEpGroup_t ep_group, ncclEpLayout_t layout, const ncclEpHandleConfig_t* config,
                                         size_t* size_out, int num_topk) {
  static Function function("ncclEpHandleMemSize");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("ep_group", ep_group);
                 a.number("layout", layout);
                 describe(a, "config", config);
                 a.pointer("size_out", size_out);
                 a.number("num_topk", num_topk);
               },
               [&](ep::Call& call) { return ep::handleMemSize(call, ep_group, layout, config, size_out, num_topk); });
}

EMU_API ncclResult_t ncclEpInitHandle(ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                                      const ncclEpHandleConfig_t* config, int num_topk, const ncclEpTensor_t* handle_mem) {
  static Function function("ncclEpInitHandle");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("handle", handle);
                 a.pointer("ep_group", ep_group);
                 a.number("layout", layout);
                 describe(a, "config", config);
                 a.number("num_topk", num_topk);
                 describe(a, "handle_mem", handle_mem);
               },
               [&](ep::Call& call) { return ep::initHandle(call, handle, ep_group, layout, config, num_topk, handle_mem); });
}

EMU_API ncclResult_t ncclEpUpdateHandle(ncclEpHandle_t handle, const ncclEpTensor_t* topk_idx, const ncclEpLayoutInfo_t* layout_info,
                                        cudaStream_t stream) {
  static Function function("ncclEpUpdateHandle");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("handle", handle);
                 describe(a, "topk_idx", topk_idx);
                 describe(a, "layout_info", layout_info);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::updateHandle(call, handle, topk_idx, layout_info, stream); });
}

EMU_API ncclResult_t ncclEpCreateHandle(ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout,
                                        const ncclEpTensor_t* topk_idx, const ncclEpLayoutInfo_t* layout_info,
                                        const ncclEpHandleConfig_t* config, cudaStream_t stream) {
  static Function function("ncclEpCreateHandle");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("handle", handle);
                 a.pointer("ep_group", ep_group);
                 a.number("layout", layout);
                 describe(a, "topk_idx", topk_idx);
                 describe(a, "layout_info", layout_info);
                 describe(a, "config", config);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) {
                 return ep::createHandle(call, handle, ep_group, layout, topk_idx, layout_info, config, stream);
               });
}

EMU_API ncclResult_t ncclEpHandleDestroy(ncclEpHandle_t handle) {
  static Function function("ncclEpHandleDestroy");
  return enter(function, [&](Arguments& a) { a.pointer("handle", handle); },
               [&](ep::Call& call) { return ep::destroyHandle(call, handle); });
}

EMU_API ncclResult_t ncclEpDispatch(ncclEpHandle_t handle, const ncclEpDispatchInputs_t* inputs, const ncclEpDispatchOutputs_t* outputs,
                                    const ncclEpLayoutInfo_t* layout_info, const ncclEpDispatchConfig_t* config,
                                    cudaStream_t stream) {
  static Function function("ncclEpDispatch");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("handle", handle);
                 describe(a, "inputs", inputs);
                 describe(a, "outputs", outputs);
                 describe(a, "layout_info", layout_info);
                 describe(a, "config", config);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::dispatch(call, handle, inputs, outputs, layout_info, config, stream); });
}

EMU_API ncclResult_t ncclEpCombine(ncclEpHandle_t handle, const ncclEpCombineInputs_t* inputs, const ncclEpCombineOutputs_t* outputs,
                                   const ncclEpCombineConfig_t* config, cudaStream_t stream) {
  static Function function("ncclEpCombine");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("handle", handle);
                 describe(a, "inputs", inputs);
                 describe(a, "outputs", outputs);
                 describe(a, "config", config);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::combine(call, handle, inputs, outputs, config, stream); });
}

EMU_API ncclResult_t ncclEpComplete(ncclEpHandle_t handle, const ncclEpCompleteConfig_t* config, cudaStream_t stream) {
  static Function function("ncclEpComplete");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("handle", handle);
                 a.pointer("config", config);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::complete(call, handle, config); });
}

EMU_API ncclResult_t ncclEpMaskQuery(ncclEpGroup_t ep_group, int* mask_status, cudaStream_t stream) {
  static Function function("ncclEpMaskQuery");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("ep_group", ep_group);
                 a.pointer("mask_status", mask_status);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::maskQuery(call, ep_group, mask_status, stream); });
}

EMU_API ncclResult_t ncclEpMaskUpdate(ncclEpGroup_t ep_group, const int* mask, cudaStream_t stream) {
  static Function function("ncclEpMaskUpdate");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("ep_group", ep_group);
                 a.pointer("mask", mask);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::maskUpdate(call, ep_group, mask, stream); });
}

EMU_API ncclResult_t ncclEpMaskClean(ncclEpGroup_t ep_group, cudaStream_t stream) {
  static Function function("ncclEpMaskClean");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("ep_group", ep_group);
                 a.pointer("stream", stream);
               },
               [&](ep::Call& call) { return ep::maskClean(call, ep_group, stream); });
}

EMU_API ncclResult_t ncclEpGetAsyncError(ncclEpGroup_t ep_group, int* error_out) {
  static Function function("ncclEpGetAsyncError");
  return enter(function,
               [&](Arguments& a) {
                 a.pointer("ep_group", ep_group);
                 a.pointer("error_out", error_out);
               },
               [&](ep::Call& call) { return ep::getAsyncError(call, ep_group, error_out); });
}

EMU_API ncclResult_t ncclEpErrorClear(ncclEpGroup_t ep_group) {
  static Function function("ncclEpErrorClear");
  return enter(function, [&](Arguments& a) { a.pointer("ep_group", ep_group); },
               [&](ep::Call& call) { return ep::errorClear(call, ep_group); });
}
