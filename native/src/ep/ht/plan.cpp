#include "ep/ht/plan.h"

namespace emu::ep {

HtPlan::HtPlan(const char* name, const Handle& handle, size_t tokenCount)
    : group(handle.group),
      function(name),
      expertMajor(handle.expertMajor()),
      duplicates(handle.duplicates()),
      topk(handle.topk),
      tokens(tokenCount),
      // A handle set up on the memory of another one takes the copy for int64.
      wideRouting(!handle.updated || handle.routing.type == ncclInt64),
      alignment(handle.alignment),
      block(handle.block),
      parts(handle.parts) {}

MoveHeader HtPlan::moveHeader(size_t rowBytes, bool backward) const {
  MoveHeader header{};
  header.topk = static_cast<uint32_t>(topk);
  header.expertMajor = expertMajor ? 1 : 0;
  header.rowBytes = static_cast<uint32_t>(rowBytes);
  header.backward = backward ? 1 : 0;
  return header;
}

ExpertCheck HtPlan::distinctExperts(HtState::Scratch& scratch) const {
  const RoutingReader reader(routingCopy(), wideRouting);
  ExpertCheck check(shape().experts);
  scratch.ids.clear();
  scratch.idsFrom.resize(tokens + 1);
  for (size_t t = 0; t < tokens; ++t) {
    const size_t from = scratch.ids.size();
    scratch.idsFrom[t] = static_cast<uint32_t>(from);
    for (size_t k = 0; k < topk; ++k) {
      const int32_t id = check(reader.at(t * topk + k));
      if (id < 0) continue;
      size_t at = scratch.ids.size();
      while (at > from && scratch.ids[at - 1] > id) --at;
      if (at > from && scratch.ids[at - 1] == id) continue;
      scratch.ids.insert(scratch.ids.begin() + static_cast<std::ptrdiff_t>(at), id);
    }
  }
  scratch.idsFrom[tokens] = static_cast<uint32_t>(scratch.ids.size());
  return check;
}

}  // namespace emu::ep
