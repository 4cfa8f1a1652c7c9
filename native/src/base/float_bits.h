// The bits of floating-point numbers.
#pragma once

#include <cstdint>
#include <cstring>

// Always inline: used in code for several instruction sets, where a shared copy of one would end up in the others.
#define EMU_INLINE __attribute__((always_inline)) inline

namespace emu {

EMU_INLINE uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

EMU_INLINE float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emu
