#include "ep/call.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "base/options.h"
#include "nccl/errors.h"

namespace emu::ep {

namespace {

std::string formatted(const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  return text;
}

}  // namespace

void Call::setRank(int rank) {
  rank_ = rank;
  calls::setRank(rank);
}

#define EMU_EP_KEEP_REASON(format)  \
  va_list arguments;                \
  va_start(arguments, format);      \
  reason_ = formatted(format, arguments); \
  va_end(arguments)

ncclResult_t Call::refuse(ncclResult_t code) {
  if (!options::reportMisuse()) std::fprintf(stderr, "nccl4j emulator: %s, rank %d: %s\n", function_, rank_, reason_.c_str());
  return nccl::failWith(code, reason_);
}

ncclResult_t Call::end(End end) {
  misuse(end, rank_, function_, "%s", reason_.c_str());
  return nccl::failWith(ncclInternalError, reason_);
}

ncclResult_t Call::invalidArgument(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return refuse(ncclInvalidArgument);
}

ncclResult_t Call::invalidUsage(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return refuse(ncclInvalidUsage);
}

ncclResult_t Call::internalError(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return refuse(ncclInternalError);
}

ncclResult_t Call::aborts(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return end(End::Abort);
}

ncclResult_t Call::throws(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return end(End::Throw);
}

ncclResult_t Call::exits(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return end(End::Exit);
}

ncclResult_t Call::undefined(const char* format, ...) {
  EMU_EP_KEEP_REASON(format);
  return end(End::Undefined);
}

#undef EMU_EP_KEEP_REASON

void Call::describe(Arguments& arguments) const {
  if (!reason_.empty()) arguments.text("reason", reason_.c_str());
}

}  // namespace emu::ep
