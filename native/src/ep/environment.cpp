#include "ep/environment.h"

#include <strings.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/options.h"

namespace emu::ep::environment {

namespace {

constexpr uint64_t kDefaultTimeoutNs = 100'000'000'000;  // 200e9 cycles of a GPU

bool isOneOf(const std::string& text, const char* a, const char* b, const char* c) {
  return strcasecmp(text.c_str(), a) == 0 || strcasecmp(text.c_str(), b) == 0 || strcasecmp(text.c_str(), c) == 0;
}

}  // namespace

bool flag(const char* name) {
  std::string text;
  if (!options::environment(name, &text)) return false;
  if (isOneOf(text, "1", "on", "true")) return true;
  if (!isOneOf(text, "0", "off", "false")) {
    std::fprintf(stderr, "nccl4j emulator: %s=%s is neither on nor off, ignored\n", name, text.c_str());
  }
  return false;
}

bool number(const char* name, uint64_t* value) {
  std::string text;
  if (!options::environment(name, &text)) return false;
  *value = std::strtoul(text.c_str(), nullptr, 10);
  return true;
}

uint64_t timeoutNs(uint64_t configured) {
  uint64_t milliseconds = 0;
  if (!number("NCCL_EP_TIMEOUT_MS", &milliseconds) || milliseconds == 0) {
    if (configured == 0) return kDefaultTimeoutNs;
    milliseconds = configured / 1'000'000;  // below a millisecond nothing is left
  }
  constexpr uint64_t kMost = UINT64_MAX / 4;
  return milliseconds > kMost / 1'000'000 ? kMost : milliseconds * 1'000'000;
}

unsigned multiprocessors(const char* name, unsigned fallback, unsigned most) {
  uint64_t value = 0;
  if (!number(name, &value)) return fallback;
  if (value >= 1 && value <= most) return static_cast<unsigned>(value);
  std::fprintf(stderr, "nccl4j emulator: %s=%llu is not in [1, %u], ignored\n", name,
               static_cast<unsigned long long>(value), most);
  return fallback;
}

}  // namespace emu::ep::environment
