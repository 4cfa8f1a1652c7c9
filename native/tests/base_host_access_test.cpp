#include "base/host_access.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <thread>

#include "scoped_option.h"

namespace emu::test {
namespace {

constexpr size_t kPage = 4096;

// Three pages: the outer ones cannot be touched.
class HostAccess : public ::testing::Test {
 protected:
  void SetUp() override {
    void* all = mmap(nullptr, 3 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(MAP_FAILED, all);
    page_ = static_cast<char*>(all) + kPage;
    allow(PROT_READ | PROT_WRITE);
  }
  void TearDown() override { munmap(page_ - kPage, 3 * kPage); }

  void allow(int protection) { ASSERT_EQ(0, mprotect(page_, kPage, protection)); }

  const ScopedOption report_{"misuse", "report"};
  char* page_ = nullptr;
};

TEST_F(HostAccess, TellsWhatCanBeRead) {
  EXPECT_TRUE(host::readable(page_, kPage));
  EXPECT_FALSE(host::readable(page_, kPage + 1));
  EXPECT_FALSE(host::readable(page_ - 1, 1));
  EXPECT_TRUE(host::readable(page_ + kPage, 0));
  EXPECT_FALSE(host::readable(nullptr, 1));
  EXPECT_FALSE(host::readable(page_, SIZE_MAX)) << "wraps";
  EXPECT_FALSE(readable(reinterpret_cast<int*>(page_ + 1), sizeof(int))) << "not aligned";
}

TEST_F(HostAccess, TellsWhatCanBeWrittenAndWritesNothing) {
  std::memset(page_, 0x5A, kPage);
  EXPECT_TRUE(host::writable(page_ + 1, kPage - 1));
  EXPECT_FALSE(host::writable(page_, kPage + 1));
  allow(PROT_READ);
  EXPECT_TRUE(host::readable(page_, kPage));
  EXPECT_FALSE(host::writable(page_, 1));
  for (size_t i = 0; i < kPage; ++i) ASSERT_EQ(0x5A, page_[i]) << i;
}

// A neighbour may change the same word meanwhile.
TEST_F(HostAccess, DisturbsNobody) {
  auto* const word = reinterpret_cast<volatile uint32_t*>(page_);
  std::thread neighbour([word] {
    for (uint32_t i = 1; i <= 100'000; ++i) {
      *word = i;
      ASSERT_EQ(i, *word);
    }
  });
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(host::writable(page_, sizeof(uint32_t)));
  neighbour.join();
}

TEST_F(HostAccess, CopiesTextThatHasAnEnd) {
  std::string text;
  char* const place = page_ + kPage - 6;
  std::memcpy(place, "hello", 6);
  ASSERT_TRUE(host::readText(place, &text));
  EXPECT_EQ("hello", text);
  place[5] = '!';
  EXPECT_FALSE(host::readText(place, &text));
  EXPECT_FALSE(host::readText(nullptr, &text));
}

TEST_F(HostAccess, TrustsWithoutReportModeButForMappings) {
  const ScopedOption abort("misuse", "abort");
  allow(PROT_NONE);
  EXPECT_TRUE(host::readable(page_, kPage));
  EXPECT_TRUE(host::writable(page_, kPage));
  EXPECT_FALSE(host::readable(nullptr, 1));
  EXPECT_FALSE(host::mapped(page_, kPage));
}

}  // namespace
}  // namespace emu::test
