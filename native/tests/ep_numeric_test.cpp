// B.4: conversions and sums, the same bits on every instruction set.
#include <cmath>
#include <cstring>
#include <random>

#include "ep/numeric/float16.h"
#include "ep/numeric/quantise.h"
#include "ep/numeric/reduce.h"
#include "ep_reference.h"

#include <gtest/gtest.h>

namespace ep_test {
namespace {

using namespace emu::ep;
using emu::bitsOf;
using emu::floatOf;

uint16_t bits16(ncclDataType_t type, float value) {
  uint16_t bits;
  encode(type, value, reinterpret_cast<unsigned char*>(&bits));
  return bits;
}

// All 16-bit patterns there and back.
TEST(EpNumeric, EveryPattern) {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const auto bits = static_cast<uint16_t>(pattern);
    for (const ncclDataType_t type : {ncclBfloat16, ncclFloat16}) {
      const float expected = decode(type, reinterpret_cast<const unsigned char*>(&bits));
      const float actual = type == ncclBfloat16 ? fromBf16(bits) : fromHalf(bits);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(actual));
        continue;
      }
      ASSERT_EQ(bitsOf(expected), bitsOf(actual)) << pattern;
      ASSERT_EQ(bits, type == ncclBfloat16 ? toBf16(actual) : toHalf(actual));
    }
  }
}

TEST(EpNumeric, RoundsToNearestEven) {
  std::mt19937 random(71);
  for (int i = 0; i < 2'000'000; ++i) {
    auto bits = static_cast<uint32_t>(random());
    if (i % 4 == 0) bits = (bits & 0x80ffffffu) | 0x38000000u;  // around the subnormals of fp16
    const float value = floatOf(bits);
    if (std::isnan(value)) {
      ASSERT_EQ(0x7fff, toBf16(value));
      ASSERT_EQ(0x7fff, toHalf(value));
      continue;
    }
    ASSERT_EQ(bits16(ncclBfloat16, value), toBf16(value)) << value;
    ASSERT_EQ(bits16(ncclFloat16, value), toHalf(value)) << value;
  }
  EXPECT_EQ(0x7c00, toHalf(65520.0f));
  EXPECT_EQ(0x7bff, toHalf(65519.996f));
}

struct Variant {
  reduce::Isa isa;
  const char* name;
};

// Odd lengths, special values, every number of rows.
TEST(EpNumeric, EveryInstructionSetGivesTheSameBits) {
  std::mt19937 random(72);
  constexpr size_t kMost = 211;
  constexpr size_t kRows = 9;
  std::vector<uint32_t> rows(kMost * kRows);
  for (int round = 0; round < 200; ++round) {
    const size_t elements = 1 + random() % kMost;
    const size_t n = random() % (kRows + 1);
    for (uint32_t& word : rows) {
      word = static_cast<uint32_t>(random());
      if (random() % 16 == 0) word = 0x7f800000u;  // infinities: sums of them are NaN
      if (random() % 16 == 0) word = 0x80000000u;
    }
    float weights[kRows];
    const void* pointers[kRows];
    for (size_t r = 0; r < kRows; ++r) {
      weights[r] = floatOf(0x3f000000u + static_cast<uint32_t>(random()) % 0x1000000u);
      pointers[r] = rows.data() + r * kMost;
    }
    for (const Variant& variant : {Variant{reduce::Isa::Avx2, "AVX2"}, Variant{reduce::Isa::Avx512, "AVX-512"}}) {
      if (!reduce::supported(variant.isa)) continue;
      const reduce::Table& expected = reduce::table(reduce::Isa::Scalar);
      const reduce::Table& actual = reduce::table(variant.isa);
      for (size_t f = 0; f < 6; ++f) {
        std::vector<uint32_t> a(kMost, 0x5a5a5a5a), b(kMost, 0x5a5a5a5a);
        expected.of[f / 2][f % 2](pointers, weights, n, elements, a.data());
        actual.of[f / 2][f % 2](pointers, weights, n, elements, b.data());
        ASSERT_EQ(a, b) << variant.name << " function " << f << " of " << elements << " elements, " << n << " rows";
      }
    }
  }
}

// 5.3, 5.10: a lone -0 becomes +0, and no rows give zeros.
TEST(EpNumeric, StartsFromPlusZero) {
  std::vector<float> minusZero(40, -0.0f), out(40, 1.0f);
  const void* rows[] = {minusZero.data()};
  sumRows(ncclFloat32, rows, nullptr, 1, 40, out.data());
  for (const float value : out) EXPECT_FALSE(std::signbit(value));
  sumRows(ncclFloat32, rows, nullptr, 0, 40, out.data());
  for (const float value : out) EXPECT_EQ(0u, bitsOf(value));
}

// 5.3: fused multiply-add. With a separate rounding of the product the sum would be 0.
TEST(EpNumeric, S53FusesMultiplyAdd) {
  const float x = 1.0f + 0x1p-12f;
  const std::vector<float> first(16, -(1.0f + 0x1p-11f)), second(16, x);
  const void* rows[] = {first.data(), second.data()};
  const float weights[] = {1.0f, x};
  std::vector<float> out(16);
  sumRows(ncclFloat32, rows, weights, 2, 16, out.data());
  for (const float value : out) EXPECT_EQ(0x1p-24f, value);
}

TEST(EpNumeric, E2m1) {
  const std::pair<float, float> ties[] = {{0.25f, 0.0f}, {0.75f, 1.0f}, {1.25f, 1.0f}, {1.75f, 2.0f},
                                          {2.5f, 2.0f},  {3.5f, 4.0f},  {5.0f, 4.0f}};
  for (const auto& [value, expected] : ties) {
    EXPECT_EQ(expected, fromE2m1(toE2m1(value))) << value;
    EXPECT_EQ(-expected, fromE2m1(toE2m1(-value))) << value;
  }
  EXPECT_EQ(6.0f, fromE2m1(toE2m1(1e30f)));
  EXPECT_EQ(0.5f, fromE2m1(toE2m1(0.2500001f)));
  EXPECT_EQ(7, toE2m1(NAN));
}

// The e4m3 values, written out from the definition.
float e4m3Value(uint8_t code) {
  const int exponent = (code >> 3) & 15;
  const int mantissa = code & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// 5.7.3: factors by both ways of rounding, and every element to the nearest e4m3 value.
TEST(EpNumeric, S573Fp8) {
  std::mt19937 random(73);
  std::uniform_real_distribution<float> value(-30.0f, 30.0f);
  for (const bool powers : {false, true}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<uint16_t> in(512);
      const float scale = std::ldexp(1.0f, static_cast<int>(random() % 30) - 20);
      for (uint16_t& element : in) element = toBf16(value(random) * scale);
      if (round == 0) std::fill(in.begin(), in.begin() + 128, uint16_t{0});
      std::vector<uint8_t> out(512);
      std::vector<float> factors(4);
      quantiseFp8(in.data(), 512, powers, out.data(), factors.data());
      for (size_t block = 0; block < 4; ++block) {
        float most = 1e-4f;
        for (size_t i = 0; i < 128; ++i) most = std::max(most, std::fabs(fromBf16(in[block * 128 + i])));
        const float ratio = most * (1.0f / 448.0f);
        float expected = ratio;
        float multiplier = 448.0f / most;
        if (powers) {
          expected = static_cast<float>(std::exp2(std::ceil(std::log2(static_cast<double>(ratio)))));
          multiplier = 1.0f / expected;
        }
        ASSERT_EQ(expected, factors[block]);
        for (size_t i = 0; i < 128; ++i) {
          const double exact = static_cast<float>(fromBf16(in[block * 128 + i]) * multiplier);
          const double chosen = e4m3Value(out[block * 128 + i]);
          for (int code = 0; code < 256; ++code) {
            if ((code & 0x7f) == 0x7f) continue;
            ASSERT_LE(std::fabs(chosen - exact), std::fabs(e4m3Value(static_cast<uint8_t>(code)) - exact));
          }
        }
      }
    }
  }
}

// 5.7.4: the row comes back within the formats' steps.
TEST(EpNumeric, S574Nvfp4RoundTrip) {
  std::mt19937 random(74);
  std::uniform_real_distribution<float> value(-3.0f, 3.0f);
  std::vector<uint16_t> in(1024);
  float most = 0.0f;
  for (uint16_t& element : in) {
    element = toBf16(value(random));
    most = std::max(most, std::fabs(fromBf16(element)));
  }
  std::vector<uint8_t> row(fp4RowBytes(1024));
  const float global = 2688.0f / most;
  quantiseFp4(in.data(), 1024, global, row.data());
  std::vector<float> sums(1024, 1.0f);
  addFp4Row(row.data(), 1024, global, 0.5f, sums.data());
  for (size_t block = 0; block < 64; ++block) {
    float largest = 0.0f;
    for (size_t i = block * 16; i < block * 16 + 16; ++i) largest = std::max(largest, std::fabs(fromBf16(in[i])));
    // Half a step of e2m1 at its coarsest (2 of 6), and half a step of the factor (1/16).
    const float tolerance = largest * (1.0f / 6.0f + 1.0f / 16.0f);
    for (size_t i = block * 16; i < block * 16 + 16; ++i) {
      ASSERT_NEAR(fromBf16(in[i]), (sums[i] - 1.0f) * 2.0f, tolerance);
    }
  }
  // A row of zeros with the factor 0 stays zero.
  std::fill(in.begin(), in.end(), uint16_t{0});
  quantiseFp4(in.data(), 1024, 0.0f, row.data());
  std::fill(sums.begin(), sums.end(), 0.0f);
  addFp4Row(row.data(), 1024, 0.0f, 1.0f, sums.data());
  for (const float sum : sums) ASSERT_EQ(0.0f, sum);
}

}  // namespace
}  // namespace ep_test
