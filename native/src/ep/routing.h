// Contents of topk_idx tensors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/work.h"

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

// An expert as the rest of the emulator sees it: negative = not routed (-1). An id that no expert has is not routed, and fails
// the operation once the other ranks have what they wait for; the real library writes past its tables.
class ExpertCheck {
 public:
  ExpertCheck(const char* function, int rank, size_t experts) : function_(function), rank_(rank), experts_(experts) {}
  int32_t operator()(int64_t id) {
    if (id < 0) return -1;
    if (static_cast<uint64_t>(id) < experts_) return static_cast<int32_t>(id);
    bad_ = id;
    return -1;
  }
  cudaError_t result(WorkContext& context) const;

 private:
  const char* const function_;
  const int rank_;
  const size_t experts_;
  int64_t bad_ = -1;
};

// What is undefined in the real library and found only when the work runs: ends the process as misuse does, or fails the work.
__attribute__((format(printf, 4, 5))) cudaError_t undefinedWork(WorkContext& context, const char* function, int rank,
                                                                const char* format, ...);

}  // namespace emu::ep
