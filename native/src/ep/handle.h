// ncclEpHandle: the routing of one set of tokens.
#pragma once

#include <functional>
#include <memory>

#include "ep/group.h"

namespace emu::ep {

struct Handle {
  std::shared_ptr<Group> group;
  ncclEpLayout_t layout = NCCL_EP_LAYOUT_UNSET;
  size_t topk = 0;
  size_t alignment = 1;          // of expert zones, in rows

  unsigned char* block = nullptr;  // device memory; all routing state lies there
  size_t blockBytes = 0;
  HtBlock parts;                   // of an HT block, as it was laid out
  bool owned = false;

  bool updated = false;
  Tensor routing;                // topk_idx of the last update; LL reads its contents when operations run

  // The receive half of a staged operation. Holds pointers to the caller's descriptors.
  std::function<void(Call&)> continuation;

  bool initialised() const { return block != nullptr; }
  bool expertMajor() const { return layout == NCCL_EP_LAYOUT_EXPERT_MAJOR; }
  // Expert-major rows are made by the sender or by copying, so that the slot map holds expert slots.
  bool duplicates() const { return expertMajor() && group->mode != ExpertMode::LocalPermute; }
};

using HandleRegistry = Registry<Handle, ncclEpHandle_t>;
HandleRegistry& handles();

// A live handle of a live group; anything else is undefined behaviour.
std::shared_ptr<Handle> findHandle(Call& call, ncclEpHandle_t token);

}  // namespace emu::ep
