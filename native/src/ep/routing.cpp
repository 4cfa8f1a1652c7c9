#include "ep/routing.h"

#include "base/misuse.h"

namespace emu::ep {

void ExpertCheck::report(int64_t id) {
  if (reported_) return;
  reported_ = true;
  misuse(End::Undefined, rank_, function_, "topk_idx holds expert %lld, there are %zu", static_cast<long long>(id), experts_);
}

}  // namespace emu::ep
