#include "report.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace rma_local {
namespace {

std::string formatted(const char* format, va_list arguments) {
  char text[1024];
  std::vsnprintf(text, sizeof text, format, arguments);
  return text;
}

}  // namespace

void fail(abi::Result result, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const std::string text = formatted(format, arguments);
  va_end(arguments);
  throw Error(result, text);
}

void print(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const std::string text = "nccl4j rma-local: " + formatted(format, arguments) + "\n";
  va_end(arguments);
  std::fputs(text.c_str(), stderr);
}

int logLevel() {
  const char* level = std::getenv("NCCL4J_RMA_LOCAL_LOG");
  return level == nullptr ? 0 : std::atoi(level);
}

}  // namespace rma_local
