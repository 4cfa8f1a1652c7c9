#include "ep/structs.h"

#include "ep/tensor.h"

namespace emu::ep {

namespace {

// Writes name={...} with the fields that `log` writes of what is there of the struct; only the pointer if it is no struct to look into.
template <class Struct, class Log>
void describeStruct(Arguments& arguments, const char* name, const Struct* given, const Log& log) {
  if (given == nullptr) return;
  if (!readable(given, 2 * sizeof(unsigned)) || given->size < v1Size(given) || given->magic != NCCL_EP_MAGIC ||
      !readable(given, std::min<size_t>(given->size, sizeof *given))) {
    arguments.pointer(name, given);
    return;
  }
  Struct known{};
  std::memcpy(&known, given, std::min<size_t>(given->size, sizeof *given));
  arguments.open(name);
  log(known);
  arguments.close();
}

}  // namespace

// Each field under its own name.
#define EMU_EP_NUMBER(field) arguments.number(#field, static_cast<int64_t>(s.field))
#define EMU_EP_TENSOR(field) describe(arguments, #field, s.field)

void describe(Arguments& arguments, const char* name, const ncclEpGroupConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpGroupConfig_t& s) {
    EMU_EP_NUMBER(size);
    EMU_EP_NUMBER(version);
    EMU_EP_NUMBER(algorithm);
    EMU_EP_NUMBER(num_experts);
    EMU_EP_NUMBER(max_dispatch_tokens_per_rank);
    EMU_EP_NUMBER(max_recv_tokens_per_rank);
    EMU_EP_NUMBER(max_token_bytes);
    EMU_EP_NUMBER(rdma_buffer_size);
    EMU_EP_NUMBER(max_num_sms);
    EMU_EP_NUMBER(enable_mask);
    EMU_EP_NUMBER(timeout_ns);
    EMU_EP_NUMBER(zero_copy);
    EMU_EP_NUMBER(overflow_policy);
    EMU_EP_NUMBER(num_topk);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpLayoutInfo_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpLayoutInfo_t& s) {
    EMU_EP_TENSOR(expert_counters);
    EMU_EP_TENSOR(src_rank_counters);
    EMU_EP_TENSOR(expert_offsets);
    EMU_EP_TENSOR(recv_total_counter);
    if (s.recv_topk_idx_kind != 0) EMU_EP_NUMBER(recv_topk_idx_kind);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchInputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpDispatchInputs_t& s) {
    EMU_EP_TENSOR(tokens);
    EMU_EP_TENSOR(topk_weights);
    EMU_EP_TENSOR(scales);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchOutputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpDispatchOutputs_t& s) {
    EMU_EP_TENSOR(tokens);
    EMU_EP_TENSOR(topk_weights);
    EMU_EP_TENSOR(scales);
    EMU_EP_TENSOR(topk_idx);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineInputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpCombineInputs_t& s) {
    EMU_EP_TENSOR(tokens);
    EMU_EP_TENSOR(topk_weights);
    EMU_EP_TENSOR(scales);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineOutputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpCombineOutputs_t& s) {
    EMU_EP_TENSOR(tokens);
    EMU_EP_TENSOR(topk_weights);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpHandleConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpHandleConfig_t& s) {
    EMU_EP_NUMBER(dispatch_output_per_expert_alignment);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpDispatchConfig_t& s) {
    EMU_EP_NUMBER(size);
    EMU_EP_NUMBER(send_only);
    EMU_EP_NUMBER(round_scales);
    EMU_EP_NUMBER(pass_direction);
    EMU_EP_NUMBER(quant_recipe);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpCombineConfig_t& s) {
    EMU_EP_NUMBER(size);
    EMU_EP_NUMBER(send_only);
    EMU_EP_NUMBER(pass_direction);
    EMU_EP_NUMBER(quant_recipe);
  });
}

#undef EMU_EP_NUMBER
#undef EMU_EP_TENSOR

}  // namespace emu::ep
