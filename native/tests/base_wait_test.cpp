#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/options.h"
#include "base/wait.h"
#include "scoped_option.h"

namespace emu {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(Wait, ReadyAtOnce) {
  EventCount changed{};
  EXPECT_EQ(WaitEnd::Ready, waitUntil(changed, [] { return true; }, 0));
}

TEST(Wait, EndsAtTheDeadline) {
  EventCount changed{};
  const uint64_t start = now();
  EXPECT_EQ(WaitEnd::Timeout, waitUntil(changed, [] { return false; }, start + 20 * kMs));
  EXPECT_GE(now() - start, 20 * kMs);
}

TEST(Wait, EndsWhenCancelled) {
  EventCount changed{};
  std::atomic<bool> cancelled{false};
  std::thread canceller([&] { cancelled = true; });
  EXPECT_EQ(WaitEnd::Broken, waitUntil(changed, [] { return false; }, kNoDeadline, [&] { return cancelled.load(); }));
  canceller.join();
}

TEST(Wait, BrokenWaitsStayBrokenUntilMended) {
  EventCount changed{};
  std::thread breaker([] { breakWaits("the test says so"); });
  EXPECT_EQ(WaitEnd::Broken, waitUntil(changed, [] { return false; }, kNoDeadline));
  breaker.join();
  EXPECT_TRUE(waitsBroken());
  EXPECT_EQ("the test says so", brokenReason());
  EXPECT_EQ(WaitEnd::Broken, waitUntil(changed, [] { return false; }, kNoDeadline));
  EXPECT_EQ(WaitEnd::Ready, waitUntil(changed, [] { return true; }, kNoDeadline));
  breakWaits(nullptr);
  EXPECT_FALSE(waitsBroken());
  EXPECT_EQ(WaitEnd::Timeout, waitUntil(changed, [] { return false; }, 0));
}

// Every turn depends on a notification that must not be lost.
TEST(Wait, NoNotificationIsLost) {
  constexpr int kTurns = 20'000;
  EventCount changed{};
  std::atomic<int> turn{0};
  const auto play = [&](int parity) {
    for (int i = parity; i < kTurns; i += 2) {
      blockUntil(changed, [&] { return turn.load(std::memory_order_acquire) == i; });
      turn.store(i + 1, std::memory_order_release);
      changed.notifyAll();
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  EXPECT_EQ(kTurns, turn.load());
}

TEST(Wait, BellsWorkAcrossProcesses) {
  struct Shared {
    EventCount changed;
    std::atomic<int> value;
  };
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(MAP_FAILED, memory);
  auto* shared = static_cast<Shared*>(memory);  // zeros are a valid EventCount
  const pid_t child = fork();
  if (child == 0) {
    const WaitEnd end = waitUntil(shared->changed, [&] { return shared->value.load() == 1; }, now() + 30'000 * kMs);
    shared->value = 2;
    shared->changed.notifyAll();
    _exit(end == WaitEnd::Ready ? 0 : 1);
  }
  shared->value = 1;
  shared->changed.notifyAll();
  EXPECT_EQ(WaitEnd::Ready, waitUntil(shared->changed, [&] { return shared->value.load() == 2; }, now() + 30'000 * kMs));
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  munmap(memory, sizeof(Shared));
}

TEST(Wait, LimitComesFromTheOption) {
  const test::ScopedOption none("wait_limit_ms", "0");
  EXPECT_EQ(kNoDeadline, waitLimit());
  ASSERT_EQ(0, options::set("wait_limit_ms", "1000"));
  const uint64_t start = now();
  const uint64_t limit = waitLimit();
  EXPECT_GE(limit, start + 1000 * kMs);
  EXPECT_LE(limit, now() + 1000 * kMs);
  ASSERT_EQ(0, options::set("wait_limit_ms", "18446744073709551615"));
  EXPECT_GT(waitLimit(), now());
}

}  // namespace
}  // namespace emu
