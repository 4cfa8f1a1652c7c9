// Contents of topk_idx tensors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ep/execution.h"

namespace emu::ep {

class RoutingReader {
 public:
  RoutingReader(const void* ids, bool wide) : ids_(static_cast<const unsigned char*>(ids)), wide_(wide) {}
  int64_t at(size_t index) const {
    return wide_ ? reinterpret_cast<const int64_t*>(ids_)[index] : reinterpret_cast<const int32_t*>(ids_)[index];
  }
  static size_t elementBytes(bool wide) { return wide ? sizeof(int64_t) : sizeof(int32_t); }

 private:
  const unsigned char* ids_;
  bool wide_;
};

// An expert as the rest of the emulator sees it: negative = not routed (-1). An id that no expert has is not routed,
// and fails the operation once the other ranks have what they wait for; the real library writes past its tables.
class ExpertCheck {
 public:
  explicit ExpertCheck(size_t experts) : experts_(experts) {}

  int32_t operator()(int64_t id) {
    if (id < 0) return -1;
    if (static_cast<uint64_t>(id) < experts_) return static_cast<int32_t>(id);
    bad_ = id;
    return -1;
  }

  void finish(const Execution& execution) const {
    if (bad_ < 0) return;
    execution.undefined("topk_idx holds expert %lld, there are %zu", static_cast<long long>(bad_), experts_);
  }

 private:
  size_t experts_;
  int64_t bad_ = -1;
};

}  // namespace emu::ep
