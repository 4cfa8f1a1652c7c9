// Every exported function of the emulated libraries passes through api(): counted, logged if the log is on, and answered with
// a result set in advance if there is one.
//
//   EMU_API cudaError_t cudaFree(void* p) {
//     static Function function("cudaFree");
//     return api<cudaError_t>(function, [&](Arguments& a) { a.pointer("ptr", p); }, [&] { return memory::release(p); });
//   }
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace emu {

// "name=value ..." of a call; only built while the log is on.
class Arguments {
 public:
  void pointer(const char* name, const void* value);
  void number(const char* name, int64_t value);
  void text(const char* name, const char* value);
  // Brackets for decoded structs: open("config"), its fields, close().
  void open(const char* name);
  void close();
  const std::string& str() const { return text_; }

 private:
  void name(const char* name);
  std::string text_;
};

class Function {
 public:
  explicit Function(const char* name);  // registers itself; lives for ever
  const char* const name;
  std::atomic<uint64_t> calls{0};
  std::atomic<bool> preset{false};  // hint: presets exist for it
};

namespace calls {
bool logging();
// Takes one preset result of the function if one is due.
bool takePreset(Function& function, int* result);
void record(Function& function, uint64_t start, int rank, int result, const std::string& arguments);
// Rank that the calling thread's current API call concerns; set by the bodies that know it, -1 at the start of each call.
void setRank(int rank);
int rank();
}  // namespace calls

template <class Result, class Describe, class Body>
Result api(Function& function, Describe&& describe, Body&& body);

}  // namespace emu

#include "calls_inline.h"
