// Reading topk_idx, of either width, from device memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emu::ep {

class RoutingReader {
 public:
  RoutingReader(const void* ids, bool wide) : ids_(static_cast<const unsigned char*>(ids)), wide_(wide) {}
  int64_t at(size_t index) const {
    return wide_ ? reinterpret_cast<const int64_t*>(ids_)[index] : reinterpret_cast<const int32_t*>(ids_)[index];
  }
  static size_t bytes(size_t count, bool wide) { return count * (wide ? sizeof(int64_t) : sizeof(int32_t)); }

 private:
  const unsigned char* ids_;
  bool wide_;
};

// An expert as the rest of the emulator sees it: negative = not routed (-1). An id that no expert has is reported, once per
// operation, and not routed; the real library writes past its tables.
class ExpertCheck {
 public:
  ExpertCheck(const char* function, int rank, size_t experts) : function_(function), rank_(rank), experts_(experts) {}
  int32_t operator()(int64_t id) {
    if (id < 0) return -1;
    if (static_cast<uint64_t>(id) < experts_) return static_cast<int32_t>(id);
    report(id);
    return -1;
  }

 private:
  void report(int64_t id);
  const char* function_;
  int rank_;
  size_t experts_;
  bool reported_ = false;
};

}  // namespace emu::ep
