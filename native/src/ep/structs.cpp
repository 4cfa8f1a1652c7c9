#include "ep/structs.h"

#include "ep/tensor.h"

namespace emu::ep {

namespace {

// Opens `name{` and copies what of the struct is there; false (with the pointer logged) if it is not a struct to look into.
template <class Struct>
bool open(Arguments& arguments, const char* name, const Struct* given, Struct* known) {
  *known = Struct{};
  if (given == nullptr) return false;
  if (!readable(given, 2 * sizeof(unsigned)) || given->size < v1Size(given) || given->magic != NCCL_EP_MAGIC ||
      !readable(given, std::min<size_t>(given->size, sizeof *given))) {
    arguments.pointer(name, given);
    return false;
  }
  std::memcpy(known, given, std::min<size_t>(given->size, sizeof *given));
  arguments.open(name);
  return true;
}

}  // namespace

void describe(Arguments& arguments, const char* name, const ncclEpGroupConfig_t* given) {
  ncclEpGroupConfig_t config;
  if (!open(arguments, name, given, &config)) return;
  arguments.number("size", config.size);
  arguments.number("version", config.version);
  arguments.number("algorithm", config.algorithm);
  arguments.number("num_experts", config.num_experts);
  arguments.number("max_dispatch_tokens_per_rank", config.max_dispatch_tokens_per_rank);
  arguments.number("max_recv_tokens_per_rank", config.max_recv_tokens_per_rank);
  arguments.number("max_token_bytes", config.max_token_bytes);
  arguments.number("rdma_buffer_size", static_cast<int64_t>(config.rdma_buffer_size));
  arguments.number("max_num_sms", config.max_num_sms);
  arguments.number("enable_mask", config.enable_mask);
  arguments.number("timeout_ns", static_cast<int64_t>(config.timeout_ns));
  arguments.number("zero_copy", config.zero_copy);
  arguments.number("overflow_policy", config.overflow_policy);
  arguments.number("num_topk", config.num_topk);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpLayoutInfo_t* given) {
  ncclEpLayoutInfo_t info;
  if (!open(arguments, name, given, &info)) return;
  describe(arguments, "expert_counters", info.expert_counters);
  describe(arguments, "src_rank_counters", info.src_rank_counters);
  describe(arguments, "expert_offsets", info.expert_offsets);
  describe(arguments, "recv_total_counter", info.recv_total_counter);
  if (info.recv_topk_idx_kind != 0) arguments.number("recv_topk_idx_kind", info.recv_topk_idx_kind);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchInputs_t* given) {
  ncclEpDispatchInputs_t inputs;
  if (!open(arguments, name, given, &inputs)) return;
  describe(arguments, "tokens", inputs.tokens);
  describe(arguments, "topk_weights", inputs.topk_weights);
  describe(arguments, "scales", inputs.scales);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchOutputs_t* given) {
  ncclEpDispatchOutputs_t outputs;
  if (!open(arguments, name, given, &outputs)) return;
  describe(arguments, "tokens", outputs.tokens);
  describe(arguments, "topk_weights", outputs.topk_weights);
  describe(arguments, "scales", outputs.scales);
  describe(arguments, "topk_idx", outputs.topk_idx);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineInputs_t* given) {
  ncclEpCombineInputs_t inputs;
  if (!open(arguments, name, given, &inputs)) return;
  describe(arguments, "tokens", inputs.tokens);
  describe(arguments, "topk_weights", inputs.topk_weights);
  describe(arguments, "scales", inputs.scales);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineOutputs_t* given) {
  ncclEpCombineOutputs_t outputs;
  if (!open(arguments, name, given, &outputs)) return;
  describe(arguments, "tokens", outputs.tokens);
  describe(arguments, "topk_weights", outputs.topk_weights);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpHandleConfig_t* given) {
  ncclEpHandleConfig_t config;
  if (!open(arguments, name, given, &config)) return;
  arguments.number("dispatch_output_per_expert_alignment", static_cast<int64_t>(config.dispatch_output_per_expert_alignment));
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpDispatchConfig_t* given) {
  ncclEpDispatchConfig_t config;
  if (!open(arguments, name, given, &config)) return;
  arguments.number("size", config.size);
  arguments.number("send_only", config.send_only);
  arguments.number("round_scales", config.round_scales);
  arguments.number("pass_direction", config.pass_direction);
  arguments.number("quant_recipe", config.quant_recipe);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, const ncclEpCombineConfig_t* given) {
  ncclEpCombineConfig_t config;
  if (!open(arguments, name, given, &config)) return;
  arguments.number("size", config.size);
  arguments.number("send_only", config.send_only);
  arguments.number("pass_direction", config.pass_direction);
  arguments.number("quant_recipe", config.quant_recipe);
  arguments.close();
}

}  // namespace emu::ep
