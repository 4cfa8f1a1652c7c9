// Every exported function is one declaration with its arguments for the log and a body, and passes through here: it is
// counted, logged if the log is on, and answered with a result set in advance if there is one.
//
//   EMU_FUNCTION(cudaError_t, cudaEventRecord, (cudaEvent_t event, cudaStream_t stream), entry<Needs::Device>,
//                (event, stream), record(event, stream, cudaEventRecordDefault))
//
// EMU_FUNCTION(result, name, parameters, enter, logged, body), of which each room has a form with its result and enter:
//   enter   the room's way in: enter(Function&, describe, body). It makes the room's own checks, calls body(call)
//           inside api() and turns failures into the room's results. `call` is the Function, or what the room knows of
//           a call.
//   logged  those arguments that are logged, in parentheses, each under its own name: parameters, or f(parameter),
//           which is logged as the parameter, with the value that f answers after the body has run.
//   body    an expression, best a call of a named function; it sees the parameters and `call`.
//
// EMU_CALL(enter, logged, body) is that for a function that does more than its call.
//
// An argument is logged by describe(Arguments&, name, value): below for numbers, addresses and text; a room adds
// overloads for its own types.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>

#include "base/export.h"
#include "base/ring_log.h"
#include "base/wait.h"
#include "nccl4j_emulator.h"

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

inline void describe(Arguments& arguments, const char* name, const void* value) { arguments.pointer(name, value); }
void describe(Arguments& arguments, const char* name, const char* value);  // its address if it cannot be read
inline void describe(Arguments& arguments, const char* name, const std::string& value) {
  arguments.text(name, value.c_str());
}
template <class Result, class... Parameters>
void describe(Arguments& arguments, const char* name, Result (*function)(Parameters...)) {
  arguments.pointer(name, reinterpret_cast<const void*>(function));
}
template <class Number, std::enable_if_t<std::is_integral_v<Number> || std::is_enum_v<Number>, int> = 0>
void describe(Arguments& arguments, const char* name, Number value) {
  arguments.number(name, static_cast<int64_t>(value));
}

class Function {
 public:
  explicit Function(const char* name);  // registers itself; lives for ever
  const char* const name;
  std::atomic<uint64_t> calls{0};
  std::atomic<bool> preset{false};  // hint: presets exist for it
};

namespace calls {
RingLog<nccl4jEmuCall_t>& log();
// Takes one preset result of the function if one is due.
bool takePreset(Function& function, int* result);
void record(Function& function, uint64_t start, int rank, int result, const std::string& arguments);
// Rank that the calling thread's current call concerns; set by the bodies that know it, -1 at the start of each call.
void setRank(int rank);
int rank();
// Name of the next argument in "(event, made(stream))", which is consumed up to its end.
std::string nextName(const char** list);
// write(name, value) for each value, with the names that the list "(a, b)" gives them.
template <class... Values, class Write>
void forEach(const char* names, const std::tuple<Values...>& values, Write&& write) {
  std::apply([&](const auto&... value) { (write(nextName(&names).c_str(), value), ...); }, values);
}

// ---- for the control interface ----

uint64_t count(const char* function);  // NULL = of all functions
// false: no such function is exported. `times` is at least 1.
bool preset(const char* function, int result, uint64_t skip, uint64_t times);
void clearPresets();
}  // namespace calls

// body(function), or body(), runs first; then describe(Arguments&) writes the arguments if the log is on.
template <class Result, class Describe, class Body>
Result api(Function& function, Describe&& describe, Body&& body) {
  function.calls.fetch_add(1, std::memory_order_relaxed);
  const bool log = calls::log().on();
  const uint64_t start = log ? now() : 0;
  calls::setRank(-1);
  int preset = 0;
  Result result;
  if (function.preset.load(std::memory_order_relaxed) && calls::takePreset(function, &preset)) {
    result = static_cast<Result>(preset);
  } else if constexpr (std::is_invocable_v<Body, Function&>) {
    result = body(function);
  } else {
    result = body();
  }
  if (log) {
    Arguments arguments;
    describe(arguments);
    calls::record(function, start, calls::rank(), static_cast<int>(result), arguments.str());
  }
  return result;
}

}  // namespace emu

// Its own names are none that a parameter has.
#define EMU_CALL(enter, arguments, ...)                                                                \
  enter(                                                                                               \
      [](const char* emuName) -> emu::Function& {                                                      \
        static emu::Function emuFunction(emuName);                                                     \
        return emuFunction;                                                                            \
      }(__func__),                                                                                     \
      [&]([[maybe_unused]] emu::Arguments& emuLog) {                                                   \
        emu::calls::forEach(#arguments, std::forward_as_tuple arguments,                               \
                            [&](const char* emuName, const auto& emuArgument) {                        \
                              describe(emuLog, emuName, emuArgument);                                  \
                            });                                                                        \
      },                                                                                               \
      [&]([[maybe_unused]] auto& call) { return __VA_ARGS__; })

#define EMU_FUNCTION(result, name, parameters, enter, logged, ...) \
  EMU_API result name parameters { return EMU_CALL(enter, logged, __VA_ARGS__); }
