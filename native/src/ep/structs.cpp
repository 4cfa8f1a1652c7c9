#include "ep/structs.h"

#include "ep/tensor.h"

namespace emu::ep {

namespace {

// Writes name={...} with the fields that `log` writes of what is there of the struct; only the pointer if it is no
// struct to look into.
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

// Writes each value under its name in the list "a, b".
template <class... Values>
void fields(Arguments& arguments, const char* names, const Values&... values) {
  calls::forEach(names, std::forward_as_tuple(values...),
                 [&](const char* name, const auto& value) { describe(arguments, name, value); });
}

}  // namespace

void describe(Arguments& arguments, const char* name, const ncclEpGroupConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpGroupConfig_t& s) {
    fields(arguments, "size, version, algorithm, num_experts", s.size, s.version, s.algorithm, s.num_experts);
    fields(arguments, "max_dispatch_tokens_per_rank, max_recv_tokens_per_rank, max_token_bytes",
           s.max_dispatch_tokens_per_rank, s.max_recv_tokens_per_rank, s.max_token_bytes);
    fields(arguments, "rdma_buffer_size, max_num_sms, enable_mask, timeout_ns", s.rdma_buffer_size, s.max_num_sms,
           s.enable_mask, s.timeout_ns);
    fields(arguments, "zero_copy, overflow_policy, num_topk", s.zero_copy, s.overflow_policy, s.num_topk);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpLayoutInfo_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpLayoutInfo_t& s) {
    fields(arguments, "expert_counters, src_rank_counters, expert_offsets, recv_total_counter", s.expert_counters,
           s.src_rank_counters, s.expert_offsets, s.recv_total_counter);
    if (s.recv_topk_idx_kind != 0) fields(arguments, "recv_topk_idx_kind", s.recv_topk_idx_kind);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchInputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpDispatchInputs_t& s) {
    fields(arguments, "tokens, topk_weights, scales", s.tokens, s.topk_weights, s.scales);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchOutputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpDispatchOutputs_t& s) {
    fields(arguments, "tokens, topk_weights, scales, topk_idx", s.tokens, s.topk_weights, s.scales, s.topk_idx);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineInputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpCombineInputs_t& s) {
    fields(arguments, "tokens, topk_weights, scales", s.tokens, s.topk_weights, s.scales);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineOutputs_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpCombineOutputs_t& s) {
    fields(arguments, "tokens, topk_weights", s.tokens, s.topk_weights);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpHandleConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpHandleConfig_t& s) {
    fields(arguments, "dispatch_output_per_expert_alignment", s.dispatch_output_per_expert_alignment);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpDispatchConfig_t& s) {
    fields(arguments, "size, send_only, round_scales, pass_direction, quant_recipe", s.size, s.send_only,
           s.round_scales, s.pass_direction, s.quant_recipe);
  });
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineConfig_t* given) {
  describeStruct(arguments, name, given, [&](const ncclEpCombineConfig_t& s) {
    fields(arguments, "size, send_only, pass_direction, quant_recipe", s.size, s.send_only, s.pass_direction,
           s.quant_recipe);
  });
}

}  // namespace emu::ep
