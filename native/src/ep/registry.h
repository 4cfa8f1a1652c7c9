// Live objects behind the opaque pointers of the C API.
//
// The pointers are tokens, not addresses: never given out twice, so that a destroyed or forged one is recognised and
// nothing is ever read through it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/live_objects.h"
#include "base/never_destroyed.h"

namespace emu::ep {

class TokenSource {
 public:
  // Not a canonical address, so that it equals no pointer to memory.
  static uintptr_t next() { return kBase + 16 * counter_.fetch_add(1, std::memory_order_relaxed); }
  static bool issued(const void* token) {
    const auto value = reinterpret_cast<uintptr_t>(token);
    return value >= kBase && value < kBase + 16 * counter_.load(std::memory_order_relaxed) && value % 16 == 0;
  }

 private:
  static constexpr uintptr_t kBase = 0x4550'0000'0000'0000;
  static inline std::atomic<uint64_t> counter_{1};
};

template <class Object, class Token>
class Registry : public LiveObjects<Token, Object> {
 public:
  using LiveObjects<Token, Object>::add;
  Token add(std::shared_ptr<Object> object) {
    const auto token = reinterpret_cast<Token>(TokenSource::next());
    add(token, std::move(object));
    return token;
  }

  // For messages: what a token that was not found is.
  static const char* unknown(Token token) {
    return TokenSource::issued(token) ? "already destroyed (or of another kind)" : "not one that this library gave out";
  }
};

}  // namespace emu::ep
