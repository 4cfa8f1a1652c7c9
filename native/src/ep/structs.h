// Structs passed by pointer: the rules of size and magic, and their place in the call log.
#pragma once

#include <algorithm>
#include <cstring>

#include "ep/call.h"

namespace emu::ep {

// Size of a struct in API version 1, which is the least that version 2 takes: for most the size that it still has.
template <class Struct>
constexpr size_t v1Size(const Struct*) {
  return sizeof(Struct);
}
constexpr size_t v1Size(const ncclEpGroupConfig_t*) { return NCCL_EP_GROUP_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpLayoutInfo_t*) { return NCCL_EP_LAYOUT_INFO_V1_SIZE; }
constexpr size_t v1Size(const ncclEpCombineInputs_t*) { return NCCL_EP_COMBINE_INPUTS_V1_SIZE; }
constexpr size_t v1Size(const ncclEpDispatchConfig_t*) { return NCCL_EP_DISPATCH_CONFIG_V1_SIZE; }
constexpr size_t v1Size(const ncclEpCombineConfig_t*) { return NCCL_EP_COMBINE_CONFIG_V1_SIZE; }

// The part of `given` that both sides know, checked, and zeros behind it. NULL is fine unless `required`.
template <class Struct>
Struct decodeStruct(Call& call, const char* name, const Struct* given, bool required) {
  Struct known{};
  if (given == nullptr) {
    if (required) call.invalidArgument("%s: NULL, but required", name);
    return known;
  }
  if (!readable(given, 2 * sizeof(unsigned))) {
    call.undefined("%s: %p cannot be read", name, static_cast<const void*>(given));
  }
  const size_t least = v1Size(given);
  const size_t size = given->size;
  if (size < least) call.invalidArgument("%s: size %zu, expected at least %zu", name, size, least);
  if (given->magic != NCCL_EP_MAGIC) {
    call.invalidArgument("%s: magic 0x%x, expected 0x%x", name, given->magic, NCCL_EP_MAGIC);
  }
  const size_t part = std::min(size, sizeof(Struct));
  if (!readable(given, part)) call.undefined("%s: %p cannot be read", name, static_cast<const void*>(given));
  std::memcpy(&known, given, part);
  return known;
}

// ---- structs that the call log shows by their fields ----

void writeFields(Arguments& arguments, const ncclEpGroupConfig_t& s);
void writeFields(Arguments& arguments, const ncclEpLayoutInfo_t& s);
void writeFields(Arguments& arguments, const ncclEpDispatchInputs_t& s);
void writeFields(Arguments& arguments, const ncclEpDispatchOutputs_t& s);
void writeFields(Arguments& arguments, const ncclEpCombineInputs_t& s);
void writeFields(Arguments& arguments, const ncclEpCombineOutputs_t& s);
void writeFields(Arguments& arguments, const ncclEpHandleConfig_t& s);
void writeFields(Arguments& arguments, const ncclEpDispatchConfig_t& s);
void writeFields(Arguments& arguments, const ncclEpCombineConfig_t& s);

// name={...} with the fields of what is there of the struct; only the pointer if it is no struct to look into.
template <class Struct>
auto describe(Arguments& arguments, const char* name, const Struct* given) -> decltype(writeFields(arguments, *given)) {
  if (given == nullptr) return;
  if (!readable(given, 2 * sizeof(unsigned)) || given->size < v1Size(given) || given->magic != NCCL_EP_MAGIC ||
      !readable(given, std::min<size_t>(given->size, sizeof *given))) {
    arguments.pointer(name, given);
    return;
  }
  Struct known{};
  std::memcpy(&known, given, std::min<size_t>(given->size, sizeof *given));
  arguments.open(name);
  writeFields(arguments, known);
  arguments.close();
}

}  // namespace emu::ep
