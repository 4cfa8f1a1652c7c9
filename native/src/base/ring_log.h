// The newest records of something, numbered from 1; off until it is given a capacity.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace emu {

template <class Record>
class RingLog {
 public:
  explicit RingLog(size_t capacity = 0) { setCapacity(capacity); }

  // Drops what is kept; 0 = off. The numbers go on.
  void setCapacity(size_t capacity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    records_.clear();
    records_.shrink_to_fit();
    first_ = next_;
    capacity_ = capacity;
    on_.store(capacity != 0, std::memory_order_relaxed);
  }

  bool on() const { return on_.load(std::memory_order_relaxed); }

  // fill(record, sequence) writes the new record.
  template <class Fill>
  void add(Fill&& fill) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (capacity_ == 0) return;
    if (records_.size() < capacity_) {
      records_.emplace_back();
      fill(records_.back(), next_);
    } else {
      fill(records_[(next_ - first_) % capacity_], next_);
    }
    ++next_;
  }

  // Copies records with number >= from, oldest first; how many.
  size_t copy(uint64_t from, Record* out, size_t capacity) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (out == nullptr || records_.empty()) return 0;
    const uint64_t oldest = next_ - records_.size();
    size_t copied = 0;
    for (uint64_t i = from > oldest ? from : oldest; i < next_ && copied < capacity; ++i) {
      out[copied++] = records_[(i - first_) % capacity_];
    }
    return copied;
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> on_{false};
  std::vector<Record> records_;
  size_t capacity_ = 0;
  uint64_t first_ = 1;  // number of the record that went into records_[0] first
  uint64_t next_ = 1;
};

// Copies text, terminated, and cut to fit between UTF-8 characters.
inline void copyText(char* to, size_t capacity, const char* from) {
  size_t i = 0;
  for (; i + 1 < capacity && from[i] != '\0'; ++i) to[i] = from[i];
  if (from[i] != '\0') {
    while (i > 0 && (static_cast<unsigned char>(from[i]) & 0xC0) == 0x80) --i;
  }
  to[i] = '\0';
}

template <size_t N>
void copyText(char (&to)[N], const char* from) {
  copyText(to, N, from);
}

}  // namespace emu
