#include "base/misuse.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "base/options.h"
#include "base/text.h"
#include "base/thread.h"

namespace emu {

namespace {

constexpr size_t kKept = 1024;

// What is thrown has to leave through extern "C" functions, as in the real library.
[[noreturn]] void endProcess(End end, const char* text) {
  switch (end) {
    case End::Throw: throw std::runtime_error(text);
    case End::Exit: std::exit(EXIT_FAILURE);
    default: std::abort();
  }
}

}  // namespace

void misuse(End end, int rank, const char* function, const char* format, ...) {
  EMU_TEXT(text, format);

  misuseLog().add([&](nccl4jEmuMisuse_t& record, uint64_t sequence) {
    record.sequence = sequence;
    record.end = static_cast<int32_t>(end);
    record.rank = rank;
    record.device = thread::device();
    record.reserved = 0;
    copyText(record.function, function);
    copyText(record.text, text);
  });
  if (options::reportMisuse() || end == End::Trap) return;
  std::fprintf(stderr, "nccl4j emulator: %s, rank %d: %s\n", function, rank, text);
  std::fflush(stderr);
  endProcess(end, text);
}

RingLog<nccl4jEmuMisuse_t>& misuseLog() {
  static RingLog<nccl4jEmuMisuse_t>& instance = *new RingLog<nccl4jEmuMisuse_t>(kKept);
  return instance;
}

}  // namespace emu
