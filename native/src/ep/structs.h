// Structs passed by pointer: the rules of size and magic, and their place in the call log.
#pragma once

#include <algorithm>
#include <cstring>

#include "ep/call.h"

namespace emu::ep {

// Size of a struct in API version 1, which is the least that version 2 takes.
constexpr size_t v1Size(const ncclEpTensorAllocConfig_t*) { return NCCL_EP_TENSOR_ALLOC_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpGroupConfig_t*) { return NCCL_EP_GROUP_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpLayoutInfo_t*) { return NCCL_EP_LAYOUT_INFO_V1_SIZE; }
constexpr size_t v1Size(const ncclEpDispatchInputs_t*) { return NCCL_EP_DISPATCH_INPUTS_V1_SIZE; }
constexpr size_t v1Size(const ncclEpDispatchOutputs_t*) { return NCCL_EP_DISPATCH_OUTPUTS_V1_SIZE; }
constexpr size_t v1Size(const ncclEpCombineInputs_t*) { return NCCL_EP_COMBINE_INPUTS_V1_SIZE; }
constexpr size_t v1Size(const ncclEpCombineOutputs_t*) { return NCCL_EP_COMBINE_OUTPUTS_V1_SIZE; }
constexpr size_t v1Size(const ncclEpHandleConfig_t*) { return NCCL_EP_HANDLE_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpDispatchConfig_t*) { return NCCL_EP_DISPATCH_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpCombineConfig_t*) { return NCCL_EP_COMBINE_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpCompleteConfig_t*) { return NCCL_EP_COMPLETE_CONFIG_V1_SIZE; }

// Checks and copies the part of `given` that both sides know over the zeroed *known. NULL is fine unless `required`.
template <class Struct>
ncclResult_t decodeStruct(Call& call, const char* name, const Struct* given, bool required, Struct* known) {
  *known = Struct{};
  if (given == nullptr) return required ? call.invalidArgument("%s: NULL, but required", name) : ncclSuccess;
  if (!readable(given, 2 * sizeof(unsigned))) {
    return call.undefined("%s: %p cannot be read", name, static_cast<const void*>(given));
  }
  const size_t least = v1Size(given);
  const size_t size = given->size;
  if (size < least) return call.invalidArgument("%s: size %zu, expected at least %zu", name, size, least);
  if (given->magic != NCCL_EP_MAGIC) {
    return call.invalidArgument("%s: magic 0x%x, expected 0x%x", name, given->magic, NCCL_EP_MAGIC);
  }
  const size_t part = std::min(size, sizeof(Struct));
  if (!readable(given, part)) return call.undefined("%s: %p cannot be read", name, static_cast<const void*>(given));
  std::memcpy(known, given, part);
  return ncclSuccess;
}

// Decoded structs for the call log.
void describe(Arguments& arguments, const char* name, const ncclEpGroupConfig_t* config);
void describe(Arguments& arguments, const char* name, const ncclEpLayoutInfo_t* info);
void describe(Arguments& arguments, const char* name, const ncclEpDispatchInputs_t* inputs);
void describe(Arguments& arguments, const char* name, const ncclEpDispatchOutputs_t* outputs);
void describe(Arguments& arguments, const char* name, const ncclEpCombineInputs_t* inputs);
void describe(Arguments& arguments, const char* name, const ncclEpCombineOutputs_t* outputs);
void describe(Arguments& arguments, const char* name, const ncclEpHandleConfig_t* config);
void describe(Arguments& arguments, const char* name, const ncclEpDispatchConfig_t* config);
void describe(Arguments& arguments, const char* name, const ncclEpCombineConfig_t* config);

}  // namespace emu::ep
