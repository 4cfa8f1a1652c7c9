// Address checks of running work: every tensor before it is read or written.
#pragma once

#include <cstdio>

#include "cuda/work.h"

namespace emu::ep {

class Touch {
 public:
  Touch(WorkContext& context, const char* function, int rank) : context_(context), function_(function), rank_(rank) {}

  // Remembers a failure; later calls do nothing then.
  Touch& operator()(const char* tensor, const void* address, size_t bytes) {
    if (!good_) return *this;
    char what[128];
    std::snprintf(what, sizeof what, "%s on rank %d: %s", function_, rank_, tensor);
    good_ = context_.touch(what, address, bytes);
    return *this;
  }
  bool good() const { return good_; }

 private:
  WorkContext& context_;
  const char* function_;
  int rank_;
  bool good_ = true;
};

}  // namespace emu::ep
