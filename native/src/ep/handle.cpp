#include "ep/handle.h"

#include <algorithm>
#include <climits>

#include "base/object_counts.h"
#include "base/options.h"
#include "cuda/device.h"
#include "cuda/memory.h"
#include "ep/entry.h"
#include "ep/operations.h"
#include "ep/structs.h"
#include "ep/tensor.h"
#include "nccl/communicator.h"

namespace emu::ep {

namespace {

constexpr size_t kMostAlignment = size_t{1} << 30;

HtBlock blockFor(const Group& group, ncclEpLayout_t layout, size_t topk) {
  const auto multiprocessors = static_cast<size_t>(options::multiprocessors());
  return htBlock(group.shape, group.mode, layout == NCCL_EP_LAYOUT_EXPERT_MAJOR, topk, multiprocessors);
}

size_t blockBytesFor(const Group& group, ncclEpLayout_t layout, size_t topk) {
  return group.lowLatency ? llHandleBytes(group.shape, topk) : blockFor(group, layout, topk).bytes;
}

bool legalLayout(const Group& group, ncclEpLayout_t layout) {
  if (layout == NCCL_EP_LAYOUT_EXPERT_MAJOR) return true;
  return layout == (group.lowLatency ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_FLAT);
}

// Makes room for the handle's messages in the group's LL buffer; collective if the buffer is to grow.
void provideLlBuffer(Call& call, Group& group, ncclEpLayout_t layout, size_t topk) {
  const LlBuffer buffer = llBuffer(group.shape, layout, topk);
  if (!buffer.regionsAligned) {
    call.throws("max_token_bytes %zu makes buffer regions that are no multiples of 16 bytes",
                group.shape.maxTokenBytes);
  }
  if (group.rdmaBytes != 0) {
    if (buffer.totalBytes <= group.rdmaBytes) return;
    call.invalidUsage("the handle needs an LL buffer of %zu bytes, rdma_buffer_size is %zu", buffer.totalBytes,
                      group.rdmaBytes);
  }
  if (buffer.totalBytes <= group.ll.bufferBytes) return;
  if (const cudaError_t error = drainDevice(group.device)) {
    call.throws("the device has failed (%d)", static_cast<int>(error));
  }
  noteOrder(call, group, "ncclEpInitHandle, growing the LL buffer");
  if (group.team->barrier(waitLimit()) != TeamResult::Ok) {
    call.exits("the LL buffer grows, but the ranks did not meet: %s", group.team->explain().c_str());
  }
  group.exchange.clear(Channel::LlBuffer0);
  group.exchange.clear(Channel::LlBuffer1);
  group.ll.bufferBytes = 0;
  const size_t bytes = sum(buffer.totalBytes, 127) / 128 * 128;
  provideWindowMemory(call, group, bytes);
  group.ll.bufferBytes = bytes;
  group.ll.generation.fetch_add(1);
  if (group.team->barrier(waitLimit()) != TeamResult::Ok) {
    call.exits("the LL buffer grew, but the ranks did not meet: %s", group.team->explain().c_str());
  }
}

void checkLlTopk(Call& call, const Group& group, int topk) {
  const size_t experts = group.shape.experts;
  if (topk < 1 || static_cast<size_t>(topk) > std::min(experts, kMaxLlTopk)) {
    call.invalidArgument("num_topk %d is outside [1, %zu]", topk, std::min(experts, kMaxLlTopk));
  }
  const unsigned groups = group.warpGroups();
  if (groups > Group::kMostWarpGroups || static_cast<unsigned>(topk) + 1 > groups * group.warpsPerGroup()) {
    call.invalidUsage("num_topk %d needs more than %u groups of %u warps", topk, groups, group.warpsPerGroup());
  }
}

void checkHtTopk(Call& call, const Group& group, const Handle& handle, int topk) {
  if (topk <= 0) call.invalidUsage("num_topk %d", topk);
  if (group.topkLimit > 0 && static_cast<unsigned>(topk) > group.topkLimit) {
    call.invalidUsage("num_topk %d is above the group's %u", topk, group.topkLimit);
  }
  if (group.eager && handle.expertMajor() && group.topkLimit == 0) {
    call.invalidUsage("an eager group with EXPERT_MAJOR handles needs num_topk in its configuration");
  }
  const size_t worst = product(product(group.shape.ranks, group.shape.maxDispatch), static_cast<size_t>(topk));
  if (group.mode != ExpertMode::LocalPermute && !group.zeroCopyOn && group.shape.maxReceive < worst) {
    call.throws("the group's expert-major mode needs max_recv_tokens_per_rank >= %zu, it is %zu", worst,
                group.shape.maxReceive);
  }
}

void provideBlock(Call& call, Handle& handle, Tensor memory) {
  const Group& group = *handle.group;
  handle.blockBytes = blockBytesFor(group, handle.layout, handle.topk);
  if (!group.lowLatency) handle.parts = blockFor(group, handle.layout, handle.topk);
  if (memory.present) {
    if (memory.ndim != 1 || memory.type != ncclUint8 || memory.sizes[0] < handle.blockBytes) {
      call.aborts("handle_mem must be u8 [n], n >= %zu", handle.blockBytes);
    }
    if (!group.lowLatency) resolveWindow(call, "handle_mem", group.comm, &memory);
    if (memory.data == nullptr) call.undefined("handle_mem has no data");
    if (reinterpret_cast<uintptr_t>(memory.data) % 8 != 0) call.undefined("handle_mem is not aligned to 8 bytes");
    handle.block = memory.data;
    return;
  }
  void* block = nullptr;
  if (group.allocator.allocate(handle.blockBytes, &block) != cudaSuccess || block == nullptr) {
    call.throws("handle memory of %zu bytes: allocation failed", handle.blockBytes);
  }
  handle.block = static_cast<unsigned char*>(block);
  handle.owned = true;
}

void checkRouting(Call& call, const Tensor& routing) {
  if (routing.ndim != 2) call.aborts("topk_idx has %u dimensions, expected 2", routing.ndim);
  if (routing.type == ncclInt64 || routing.type == ncclInt32) return;
  call.aborts("topk_idx is %s, expected i32 or i64", typeName(routing.type));
}

void handleMemSize(Call& call, ncclEpGroup_t token, ncclEpLayout_t layout, const ncclEpHandleConfig_t* given,
                           size_t* out, int topk) {
  if (token == nullptr || out == nullptr) call.aborts("ep_group and size_out must not be NULL");
  const auto group = findGroup(call, token);
  decodeStruct(call, "config", given, false);
  if (layout == NCCL_EP_LAYOUT_UNSET) call.throws("layout is not set");
  if (topk <= 0) call.aborts("num_topk %d", topk);
  if (!writable(out, sizeof *out)) call.undefined("size_out cannot be written");
  *out = blockBytesFor(*group, layout, static_cast<size_t>(topk));
}

void initHandle(Call& call, ncclEpHandle_t* out, ncclEpGroup_t token, ncclEpLayout_t layout,
                        const ncclEpHandleConfig_t* given, int topk, const ncclEpTensor_t* givenMemory) {
  if (token == nullptr || out == nullptr) call.aborts("ep_group and handle must not be NULL");
  const auto group = findGroup(call, token);
  if (communicator(group->comm) == nullptr) call.aborts("the group's communicator was destroyed");
  const auto config = decodeStruct(call, "config", given, false);
  const auto memory = decodeOptional(call, "handle_mem", givenMemory);
  if (layout == NCCL_EP_LAYOUT_UNSET) call.throws("layout is not set");
  if (!legalLayout(*group, layout)) call.throws("layout %u does not go with the group's algorithm", layout);
  if (group->shape.experts % group->shape.ranks != 0) {
    call.aborts("%zu experts cannot be shared by %zu ranks", group->shape.experts, group->shape.ranks);
  }
  const size_t alignment = config.dispatch_output_per_expert_alignment;
  const bool aligns = !group->lowLatency && layout == NCCL_EP_LAYOUT_EXPERT_MAJOR;
  if (aligns && (alignment & (alignment - 1)) != 0) call.aborts("alignment %zu is no power of two", alignment);
  if (!writable(out, sizeof *out)) call.undefined("handle cannot be written");

  auto handle = std::make_shared<Handle>();
  handle->group = group;
  handle->layout = layout;
  handle->topk = topk > 0 ? static_cast<size_t>(topk) : 0;
  handle->alignment = aligns && alignment > 1 ? alignment : 1;
  objects::handles.add(group->device, 1);
  *out = handles().add(handle);  // the caller has a handle to destroy even if the rest fails

  if (group->lowLatency) {
    checkLlTopk(call, *group, topk);
    provideLlBuffer(call, *group, layout, handle->topk);
  } else {
    checkHtTopk(call, *group, *handle, topk);
  }
  if (aligns && alignment > kMostAlignment) {
    call.undefined("alignment %zu: zones of that size have no row numbers", alignment);
  }
  provideBlock(call, *handle, memory);
}

void updateHandle(Call& call, ncclEpHandle_t token, const ncclEpTensor_t* given,
                          const ncclEpLayoutInfo_t* givenInfo, cudaStream_t stream) {
  if (token == nullptr) call.aborts("handle is NULL");
  const auto handle = findHandle(call, token);
  const auto info = decodeStruct(call, "layout_info", givenInfo, false);
  const auto routing = decodeRequired(call, "topk_idx", given);
  checkRouting(call, routing);
  handle->routing = routing;
  handle->updated = true;
  Group& group = *handle->group;
  if (!group.lowLatency) resolveWindow(call, "topk_idx", group.comm, &handle->routing);
  if (routing.sizes[1] != handle->topk) {
    call.aborts("topk_idx has %zu columns, the handle %zu", routing.sizes[1], handle->topk);
  }
  if (!group.lowLatency) {
    updateRouting(call, handle, info, stream);
  } else if (givenInfo != nullptr) {
    call.aborts("layout_info must be NULL for LL");
  }
}

void createHandle(Call& call, ncclEpHandle_t* out, ncclEpGroup_t group, ncclEpLayout_t layout,
                          const ncclEpTensor_t* given, const ncclEpLayoutInfo_t* givenInfo,
                          const ncclEpHandleConfig_t* config, cudaStream_t stream) {
  const auto routing = decodeRequired(call, "topk_idx", given);
  if (out == nullptr) call.aborts("handle is NULL");
  decodeStruct(call, "layout_info", givenInfo, false);
  const int topk = static_cast<int>(std::min<size_t>(routing.sizes[1], INT_MAX));
  initHandle(call, out, group, layout, config, topk, nullptr);
  updateHandle(call, *out, given, givenInfo, stream);
}

void destroyHandle(Call& call, ncclEpHandle_t token) {
  if (token == nullptr) return;
  const std::shared_ptr<Handle> handle = handles().take(token);
  if (handle == nullptr) call.undefined("handle is %s", HandleRegistry::unknown(token));
  Group& group = *handle->group;
  call.setRank(group.rank);
  objects::handles.add(group.device, -1);
  if (handle->owned) (void)group.allocator.release(handle->block);
  if (group.destroyed) call.undefined("the handle's group was destroyed before it");
}

void complete(Call& call, ncclEpHandle_t token, const ncclEpCompleteConfig_t* given) {
  decodeStruct(call, "config", given, false);
  const auto handle = findHandle(call, token);
  if (!handle->group->lowLatency || !handle->continuation) return;
  handle->continuation(call);
  handle->continuation = nullptr;
}

}  // namespace

HandleRegistry& handles() { return neverDestroyed<HandleRegistry>(); }

std::shared_ptr<Handle> findHandle(Call& call, ncclEpHandle_t token) {
  if (token == nullptr) call.undefined("handle is NULL");
  std::shared_ptr<Handle> handle = handles().find(token);
  if (handle == nullptr) call.undefined("handle is %s", HandleRegistry::unknown(token));
  call.setRank(handle->group->rank);
  if (handle->group->destroyed) call.undefined("the handle's group was destroyed before it");
  if (!handle->initialised()) call.undefined("the handle was never initialised: an earlier call failed");
  return handle;
}

EMU_EP(ncclEpHandleMemSize,
       (ncclEpGroup_t ep_group, ncclEpLayout_t layout, const ncclEpHandleConfig_t* config, size_t* size_out,
        int num_topk), (ep_group, layout, config, size_out, num_topk),
       handleMemSize(call, ep_group, layout, config, size_out, num_topk))

EMU_EP(ncclEpInitHandle,
       (ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout, const ncclEpHandleConfig_t* config,
        int num_topk, const ncclEpTensor_t* handle_mem), (handle, ep_group, layout, config, num_topk, handle_mem),
       initHandle(call, handle, ep_group, layout, config, num_topk, handle_mem))

EMU_EP(ncclEpUpdateHandle,
       (ncclEpHandle_t handle, const ncclEpTensor_t* topk_idx, const ncclEpLayoutInfo_t* layout_info,
        cudaStream_t stream), (handle, topk_idx, layout_info, stream),
       updateHandle(call, handle, topk_idx, layout_info, stream))

EMU_EP(ncclEpCreateHandle,
       (ncclEpHandle_t* handle, ncclEpGroup_t ep_group, ncclEpLayout_t layout, const ncclEpTensor_t* topk_idx,
        const ncclEpLayoutInfo_t* layout_info, const ncclEpHandleConfig_t* config, cudaStream_t stream),
       (handle, ep_group, layout, topk_idx, layout_info, config, stream),
       createHandle(call, handle, ep_group, layout, topk_idx, layout_info, config, stream))

EMU_EP(ncclEpHandleDestroy, (ncclEpHandle_t handle), (handle), destroyHandle(call, handle))

EMU_EP(ncclEpComplete, (ncclEpHandle_t handle, const ncclEpCompleteConfig_t* config, cudaStream_t stream),
       (handle, config, stream), complete(call, handle, config))

}  // namespace emu::ep
