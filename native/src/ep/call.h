// One call of the C API: who makes it, and the ways to refuse it.
#pragma once

#include <string>

#include "abi/nccl_ep.h"
#include "base/calls.h"
#include "base/host_access.h"
#include "base/misuse.h"

namespace emu::ep {

#define EMU_EP_PRINTF __attribute__((format(printf, 2, 3)))

class Call {
 public:
  explicit Call(const char* function) : function_(function) {}

  const char* function() const { return function_; }
  int rank() const { return rank_; }
  void setRank(int rank);

  // Each keeps the reason for the call log and for ncclGetLastError, and returns the code, for
  // `return call.invalidArgument(...)`.
  ncclResult_t invalidArgument(const char* format, ...) EMU_EP_PRINTF;
  ncclResult_t invalidUsage(const char* format, ...) EMU_EP_PRINTF;
  ncclResult_t internalError(const char* format, ...) EMU_EP_PRINTF;

  // What ends the process in the real library. In report mode they return ncclInternalError.
  ncclResult_t aborts(const char* format, ...) EMU_EP_PRINTF;
  ncclResult_t throws(const char* format, ...) EMU_EP_PRINTF;
  ncclResult_t exits(const char* format, ...) EMU_EP_PRINTF;
  ncclResult_t undefined(const char* format, ...) EMU_EP_PRINTF;

  void describe(Arguments& arguments) const;  // adds the reason, if there is one

 private:
  ncclResult_t refuse(ncclResult_t code);
  ncclResult_t end(End end);
  const char* function_;
  int rank_ = -1;
  std::string reason_;
};

}  // namespace emu::ep
