// Whether host memory that a caller points to is there. Asked in report mode only, where no pointer may end the process; otherwise
// every pointer but NULL is trusted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emu {

bool readable(const void* address, size_t bytes);
bool writable(const void* address, size_t bytes);

// An output, or a struct that is read and written.
template <class Value>
bool given(Value* out) {
  return writable(out, sizeof *out);
}

// `count` elements to be read; none need no address.
template <class Value>
bool given(const Value* values, size_t count) {
  return count == 0 || (count <= SIZE_MAX / sizeof *values && readable(values, count * sizeof *values));
}

// Likewise to be written.
template <class Value>
bool room(Value* values, size_t count) {
  return count == 0 || (count <= SIZE_MAX / sizeof *values && writable(values, count * sizeof *values));
}

}  // namespace emu
