// An option of the emulator for the time of a test.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "nccl4j_emulator.h"

namespace emu::test {

inline std::string option(const char* name) {
  char text[64];
  EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuGetOption(name, text, sizeof text));
  return text;
}

class ScopedOption {
 public:
  ScopedOption(const char* name, const char* value) : name_(name), before_(option(name)) {
    EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuSetOption(name, value)) << name << " = " << value;
  }
  ~ScopedOption() { EXPECT_EQ(NCCL4J_EMU_OK, nccl4jEmuSetOption(name_, before_.c_str())) << name_; }
  ScopedOption(const ScopedOption&) = delete;
  ScopedOption& operator=(const ScopedOption&) = delete;

 private:
  const char* const name_;
  const std::string before_;
};

}  // namespace emu::test
