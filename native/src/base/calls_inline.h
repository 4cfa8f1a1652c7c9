// Implementation of api() and EMU_CALL; kept apart so that calls.h reads as an interface.
#pragma once

#include "wait.h"

namespace emu {

template <class Result, class Describe, class Body>
Result api(Function& function, Describe&& describe, Body&& body) {
  function.calls.fetch_add(1, std::memory_order_relaxed);
  const bool log = calls::logging();
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

namespace calls {

// write(name, value) for each value, with the names that the list "(a, b)" gives them.
template <class... Values, class Write>
void forEach(const char* names, const std::tuple<Values...>& values, Write&& write) {
  std::apply([&](const auto&... value) { (write(nextName(&names).c_str(), value), ...); }, values);
}

}  // namespace calls

}  // namespace emu
