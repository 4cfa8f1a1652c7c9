// The narrow floating-point formats against a slow second implementation: every pattern, and rounding between all
// neighbours.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "nccl/number_formats.h"
#include "nccl_reference.h"

namespace nccl_test {
namespace {

template <class Format>
void checkAll(ncclDataType_t type) {
  const uint64_t patterns = uint64_t{1} << (8 * bytesOf(type));
  for (uint64_t pattern = 0; pattern < patterns; ++pattern) {
    const Format stored{static_cast<decltype(Format::bits)>(pattern)};
    const double expected = decode(type, pattern);
    const float value = stored.toFloat();
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << pattern;
      EXPECT_TRUE(std::isnan(Format::fromFloat(value).toFloat())) << pattern;
      continue;
    }
    EXPECT_EQ(expected, static_cast<double>(value)) << pattern;
    if (std::isfinite(expected)) {
      EXPECT_EQ(pattern, Format::fromFloat(value).bits) << pattern;
      // Around the middle between this number and the next.
      const double next = decode(type, pattern + 1);
      if (std::isfinite(next) && (pattern + 1) % (patterns / 2) != 0) {
        const auto middle = static_cast<float>((expected + next) / 2);
        for (const float between : {std::nextafter(middle, value), middle, std::nextafter(middle, static_cast<float>(next))}) {
          EXPECT_EQ(nearest(type, static_cast<double>(between)), Format::fromFloat(between).bits) << pattern << " " << between;
        }
      }
    }
  }
}

TEST(NcclNumberFormats, Half) { checkAll<emu::numbers::Half>(ncclFloat16); }
TEST(NcclNumberFormats, Bfloat16) { checkAll<emu::numbers::Bfloat16>(ncclBfloat16); }
TEST(NcclNumberFormats, Float8e4m3) { checkAll<emu::numbers::Float8e4m3>(ncclFloat8e4m3); }
TEST(NcclNumberFormats, Float8e5m2) { checkAll<emu::numbers::Float8e5m2>(ncclFloat8e5m2); }

TEST(NcclNumberFormats, WhatIsTooLarge) {
  EXPECT_EQ(0x7bff, emu::numbers::Half::fromFloat(65519.0f).bits);
  EXPECT_EQ(0x7c00, emu::numbers::Half::fromFloat(65520.0f).bits);
  EXPECT_EQ(0xfc00, emu::numbers::Half::fromFloat(-1e30f).bits);
  EXPECT_EQ(0x7f80, emu::numbers::Bfloat16::fromFloat(3.4e38f).bits);
  EXPECT_EQ(0x7e, emu::numbers::Float8e4m3::fromFloat(1e9f).bits);
  EXPECT_EQ(0xfe, emu::numbers::Float8e4m3::fromFloat(-INFINITY).bits);
  EXPECT_EQ(0x7b, emu::numbers::Float8e5m2::fromFloat(1e9f).bits);
  EXPECT_EQ(0x7b, emu::numbers::Float8e5m2::fromFloat(INFINITY).bits);
}

}  // namespace
}  // namespace nccl_test
