#include "ep/rows.h"

#include <gtest/gtest.h>

#include <vector>

namespace {

using emu::ep::RowCopier;

constexpr size_t kGuard = 64;
constexpr size_t kMany = size_t{1} << 40;

unsigned char pattern(size_t i) { return static_cast<unsigned char>(i * 31 + i / 256); }

// Copies `bytes` between places that lie `to` and `from` bytes behind an aligned one, and checks all of it and what
// lies around.
void expectCopied(size_t all, size_t bytes, size_t to, size_t from) {
  std::vector<unsigned char> source(bytes + 2 * kGuard);
  for (size_t i = 0; i < source.size(); ++i) source[i] = pattern(i);
  std::vector<unsigned char> target(bytes + 4 * kGuard, 0xee);
  const size_t misfit = reinterpret_cast<size_t>(target.data()) % kGuard;
  unsigned char* const begin = target.data() + (kGuard - misfit) + kGuard + to;
  {
    const RowCopier copier(all, 1);
    copier.copy(begin, source.data() + from, bytes);
  }
  for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(begin[i], pattern(from + i)) << "byte " << i << " of " << bytes;
  for (const unsigned char* p = target.data(); p < begin; ++p) ASSERT_EQ(*p, 0xee) << "before " << bytes;
  for (const unsigned char* p = begin + bytes; p < target.data() + target.size(); ++p) {
    ASSERT_EQ(*p, 0xee) << "behind " << bytes;
  }
}

TEST(EpRows, CopiesEveryLengthFromAndToAnywhere) {
  for (const size_t all : {size_t{1}, kMany}) {
    for (const size_t bytes : {0, 1, 16, 48, 64, 128, 192, 256, 320, 512, 1040, 4096, 7168, 14336, 14400}) {
      for (const size_t to : {0, 16, 8, 1}) {
        for (const size_t from : {0, 16, 4, 3}) expectCopied(all, bytes, to, from);
      }
    }
  }
}

}  // namespace
