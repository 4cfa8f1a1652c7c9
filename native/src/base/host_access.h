// Whether host memory that a caller points to is there. Asked in report mode only, where no pointer may end the
// process; otherwise every pointer but NULL is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace emu {

namespace host {

size_t pageSize();

bool readable(const void* address, size_t bytes);
bool writable(const void* address, size_t bytes);
// Whether all pages can be read, asked in every mode.
bool mapped(const void* address, size_t bytes);
// A copy of a terminated text; false if it is NULL, cannot be read or has no end.
bool readText(const char* text, std::string* out);

template <class Value>
bool aligned(const Value* address) {
  using Element = std::conditional_t<std::is_void_v<Value>, char, Value>;
  return reinterpret_cast<uintptr_t>(address) % alignof(Element) == 0;
}

}  // namespace host

// Where a value of the type can lie there, too.
template <class Value>
bool readable(const Value* address, size_t bytes) {
  return host::aligned(address) && host::readable(address, bytes);
}
template <class Value>
bool writable(Value* address, size_t bytes) {
  return host::aligned(address) && host::writable(address, bytes);
}

// An output, or a struct that is read and written.
template <class Value>
bool given(Value* out) {
  return writable(out, sizeof *out);
}

// An output that may be left out by NULL.
template <class Value>
bool givenOrNull(Value* out) {
  return out == nullptr || given(out);
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
