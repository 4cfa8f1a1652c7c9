#include "ep/ht/stages.h"

#include <algorithm>

#include "ep/call.h"
#include "ep/environment.h"

namespace emu::ep {

namespace {

// No kernel does with less than one row per direction; how many it takes by default depends on the device, and has no
// effect here.
constexpr size_t kLeast = 1;
constexpr size_t kMost = size_t{1} << 20;

size_t pinned(const char* name) {
  uint64_t value = 0;
  if (!environment::number(name, &value)) return kLeast;
  return std::clamp<size_t>(value, kLeast, kMost);
}

void fit(Call& call, const Group& group, size_t stages, size_t bytes) {
  const auto limit = static_cast<size_t>(group.sharedMemoryLimit.load());
  if (product(stages, bytes) <= limit) return;
  call.invalidArgument("%zu stages of %zu bytes do not fit into %zu bytes of shared memory", stages, bytes, limit);
}

}  // namespace

void checkDispatchStages(Call& call, const Group& group, size_t bytesPerStage) {
  return fit(call, group, pinned("NCCL_EP_DISPATCH_NUM_STAGES"), bytesPerStage);
}

void checkCombineStages(Call& call, const Group& group, size_t bytesPerStage) {
  return fit(call, group, pinned("NCCL_EP_COMBINE_NUM_STAGES_G2S") + pinned("NCCL_EP_COMBINE_NUM_STAGES_S2G"),
             bytesPerStage);
}

}  // namespace emu::ep
