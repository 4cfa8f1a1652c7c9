// Errors and the log, on standard error: NCCL shows the warnings of a plugin only if it is asked to.
#pragma once

#include <stdexcept>
#include <string>

#include "rma_abi.h"

namespace rma_local {

class Error : public std::runtime_error {
 public:
  Error(abi::Result of, const std::string& text) : std::runtime_error(text), result(of) {}
  const abi::Result result;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(abi::Result result, const char* format, ...);

__attribute__((format(printf, 1, 2))) void print(const char* format, ...);

// NCCL4J_RMA_LOCAL_LOG: 1 for a line with the sums of each rank when it closes, 2 for a line of each operation too.
int logLevel();

}  // namespace rma_local
