// Live objects behind the opaque pointers of the C API.
//
// The pointers are tokens, not addresses: never given out twice, so that a destroyed or forged one is recognised and
// nothing is ever read through it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

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
class Registry {
 public:
  Token add(std::shared_ptr<Object> object) {
    const uintptr_t token = TokenSource::next();
    const std::lock_guard<std::mutex> lock(mutex_);
    objects_.emplace(token, std::move(object));
    return reinterpret_cast<Token>(token);
  }

  // NULL unless the token's object is live.
  std::shared_ptr<Object> find(Token token) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(token));
    return found == objects_.end() ? nullptr : found->second;
  }

  std::shared_ptr<Object> remove(Token token) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(token));
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

  // For messages: what a token that was not found is.
  static const char* unknown(Token token) {
    return TokenSource::issued(token) ? "already destroyed (or of another kind)" : "not one that this library gave out";
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uintptr_t, std::shared_ptr<Object>> objects_;
};

}  // namespace emu::ep
