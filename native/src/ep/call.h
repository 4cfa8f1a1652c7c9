// One call of the C API: who makes it, and the ways to refuse it.
#pragma once

#include <optional>
#include <string>

#include "abi/nccl_ep.h"
#include "base/calls.h"
#include "base/host_access.h"
#include "base/misuse.h"

namespace emu::ep {

#define EMU_EP_REFUSES __attribute__((format(printf, 2, 3)))

// Ends a call that is refused; the function answers with the code.
struct Refusal {
  ncclResult_t code;
};

// How `check` refuses the call, if it does: for what is found when the call cannot end at once.
template <class Check>
std::optional<Refusal> refusalOf(Check&& check) {
  try {
    check();
  } catch (const Refusal& refusal) {
    return refusal;
  }
  return std::nullopt;
}

class Call {
 public:
  explicit Call(const char* function) : function_(function) {}

  const char* function() const { return function_; }
  int rank() const { return rank_; }
  void setRank(int rank);

  // Each keeps the reason for the call log and for ncclGetLastError, and throws the Refusal.
  [[noreturn]] void invalidArgument(const char* format, ...) EMU_EP_REFUSES;
  [[noreturn]] void invalidUsage(const char* format, ...) EMU_EP_REFUSES;
  [[noreturn]] void internalError(const char* format, ...) EMU_EP_REFUSES;
  [[noreturn]] void systemError(const char* format, ...) EMU_EP_REFUSES;

  // What ends the process in the real library. In report mode the code is ncclInternalError.
  [[noreturn]] void aborts(const char* format, ...) EMU_EP_REFUSES;
  [[noreturn]] void throws(const char* format, ...) EMU_EP_REFUSES;
  [[noreturn]] void exits(const char* format, ...) EMU_EP_REFUSES;
  [[noreturn]] void undefined(const char* format, ...) EMU_EP_REFUSES;

  void describe(Arguments& arguments) const;  // adds the reason, if there is one

 private:
  [[noreturn]] void refuse(ncclResult_t code);
  [[noreturn]] void end(End end);
  const char* function_;
  int rank_ = -1;
  std::string reason_;
};

}  // namespace emu::ep
