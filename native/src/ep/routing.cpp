#include "ep/routing.h"

#include <cstdarg>
#include <cstdio>

#include "base/misuse.h"

namespace emu::ep {

cudaError_t ExpertCheck::result(WorkContext& context) const {
  if (bad_ < 0) return cudaSuccess;
  return undefinedWork(context, function_, rank_, "topk_idx holds expert %lld, there are %zu", static_cast<long long>(bad_), experts_);
}

cudaError_t undefinedWork(WorkContext& context, const char* function, int rank, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  misuse(End::Undefined, rank, function, "%s", text);
  return context.fail(cudaErrorLaunchFailure, "%s on rank %d: %s", function, rank, text);
}

}  // namespace emu::ep
