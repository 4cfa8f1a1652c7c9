#include "ep/structs.h"

#include "ep/tensor.h"

namespace emu::ep {

namespace {

// Writes each value under its name in the list "s.a, s.b".
template <class... Values>
void write(Arguments& arguments, const char* names, const Values&... values) {
  calls::forEach(names, std::forward_as_tuple(values...),
                 [&](const char* name, const auto& value) { describe(arguments, name + 2, value); });
}

#define EMU_EP_WRITE(...) write(arguments, #__VA_ARGS__, __VA_ARGS__)
#define EMU_EP_FIELDS(Struct, ...) \
  void writeFields(Arguments& arguments, const Struct& s) { EMU_EP_WRITE(__VA_ARGS__); }

}  // namespace

void writeFields(Arguments& arguments, const ncclEpGroupConfig_t& s) {
  EMU_EP_WRITE(s.size, s.version, s.algorithm, s.num_experts, s.max_dispatch_tokens_per_rank);
  EMU_EP_WRITE(s.max_recv_tokens_per_rank, s.max_token_bytes, s.rdma_buffer_size, s.max_num_sms, s.enable_mask);
  EMU_EP_WRITE(s.timeout_ns, s.zero_copy, s.overflow_policy, s.num_topk);
}

void writeFields(Arguments& arguments, const ncclEpLayoutInfo_t& s) {
  EMU_EP_WRITE(s.expert_counters, s.src_rank_counters, s.expert_offsets, s.recv_total_counter);
  if (s.recv_topk_idx_kind != 0) EMU_EP_WRITE(s.recv_topk_idx_kind);
}

EMU_EP_FIELDS(ncclEpDispatchInputs_t, s.tokens, s.topk_weights, s.scales)
EMU_EP_FIELDS(ncclEpDispatchOutputs_t, s.tokens, s.topk_weights, s.scales, s.topk_idx)
EMU_EP_FIELDS(ncclEpCombineInputs_t, s.tokens, s.topk_weights, s.scales)
EMU_EP_FIELDS(ncclEpCombineOutputs_t, s.tokens, s.topk_weights)
EMU_EP_FIELDS(ncclEpHandleConfig_t, s.dispatch_output_per_expert_alignment)
EMU_EP_FIELDS(ncclEpDispatchConfig_t, s.size, s.send_only, s.round_scales, s.pass_direction, s.quant_recipe)
EMU_EP_FIELDS(ncclEpCombineConfig_t, s.size, s.send_only, s.pass_direction, s.quant_recipe)

#undef EMU_EP_FIELDS
#undef EMU_EP_WRITE

}  // namespace emu::ep
