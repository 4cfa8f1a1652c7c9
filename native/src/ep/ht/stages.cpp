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

size_t sharedMemory(const Group& group) { return static_cast<size_t>(group.sharedMemoryLimit.load()); }

}  // namespace

void checkStages(Call& call, const Group& group, std::initializer_list<const char*> variables, size_t bytesPerStage) {
  size_t stages = 0;
  for (const char* variable : variables) stages += pinned(variable);
  const size_t limit = sharedMemory(group);
  if (product(stages, bytesPerStage) <= limit) return;
  call.invalidArgument("%zu stages of %zu bytes do not fit into %zu bytes of shared memory", stages, bytesPerStage,
                       limit);
}

void checkLocalDup(Call& call, const Handle& handle, size_t bytes) {
  const size_t limit = sharedMemory(*handle.group);
  if (!handle.duplicates() || handle.group->mode != ExpertMode::LocalDup || bytes <= limit) return;
  call.aborts("rows need %zu bytes of shared memory, there are %zu", bytes, limit);
}

}  // namespace emu::ep
