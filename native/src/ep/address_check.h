// Address checks of running work: every tensor before it is read or written.
#pragma once

#include <cstdint>
#include <cstdio>

#include "cuda/work.h"

namespace emu::ep {

// Remembers the first failure; checks after it do nothing.
class AddressCheck {
 public:
  AddressCheck(WorkContext& context, const char* function, int rank) : context_(context), function_(function), rank_(rank) {}

  // Kernels move rows 16 bytes at a time.
  void rows(const char* tensor, const void* address, size_t bytes) { check(tensor, address, bytes, kPacketBytes); }
  // Weights, ids and counters are read and written one by one.
  template <class Element>
  void elements(const char* tensor, const Element* address, size_t count) {
    check(tensor, address, count * sizeof(Element), sizeof(Element));
  }
  void elements(const char* tensor, const void* address, size_t count, size_t elementBytes) {
    check(tensor, address, count * elementBytes, elementBytes);
  }
  // Memory that is copied, or whose alignment was checked at the call.
  void bytes(const char* tensor, const void* address, size_t bytes) { check(tensor, address, bytes, 1); }

  cudaError_t error() const { return error_; }

 private:
  static constexpr size_t kPacketBytes = 16;

  void check(const char* tensor, const void* address, size_t bytes, size_t alignment) {
    if (error_ != cudaSuccess || bytes == 0) return;
    char what[128];
    std::snprintf(what, sizeof what, "%s on rank %d: %s", function_, rank_, tensor);
    if (reinterpret_cast<uintptr_t>(address) % alignment != 0) {
      error_ = context_.fail(cudaErrorMisalignedAddress, "%s: address %p is no multiple of %zu bytes", what, address, alignment);
    } else if (!context_.touch(what, address, bytes)) {
      error_ = cudaErrorIllegalAddress;
    }
  }

  WorkContext& context_;
  const char* const function_;
  const int rank_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace emu::ep
