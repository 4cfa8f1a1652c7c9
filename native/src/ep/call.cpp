#include "ep/call.h"

#include <cstdio>

#include "base/options.h"
#include "base/text.h"
#include "nccl/errors.h"

namespace emu::ep {

void Call::setRank(int rank) {
  rank_ = rank;
  calls::setRank(rank);
}

void Call::refuse(ncclResult_t code) {
  if (!options::reportMisuse()) {
    std::fprintf(stderr, "nccl4j emulator: %s, rank %d: %s\n", function_, rank_, reason_.c_str());
  }
  throw Refusal{nccl::remember({code, reason_})};
}

void Call::end(End end) {
  misuse(end, rank_, function_, "%s", reason_.c_str());
  throw Refusal{nccl::remember({ncclInternalError, reason_})};
}

// Defines a way to refuse.
#define EMU_EP_REFUSAL(name, answer)         \
  void Call::name(const char* format, ...) { \
    EMU_TEXT(text, format);                  \
    reason_ = text;                          \
    answer;                                  \
  }

EMU_EP_REFUSAL(invalidArgument, refuse(ncclInvalidArgument))
EMU_EP_REFUSAL(invalidUsage, refuse(ncclInvalidUsage))
EMU_EP_REFUSAL(internalError, refuse(ncclInternalError))
EMU_EP_REFUSAL(systemError, refuse(ncclSystemError))
EMU_EP_REFUSAL(aborts, end(End::Abort))
EMU_EP_REFUSAL(throws, end(End::Throw))
EMU_EP_REFUSAL(exits, end(End::Exit))
EMU_EP_REFUSAL(undefined, end(End::Undefined))

#undef EMU_EP_REFUSAL

void Call::describe(Arguments& arguments) const {
  if (!reason_.empty()) arguments.text("reason", reason_.c_str());
}

}  // namespace emu::ep
