#include "base/work_log.h"

#include "base/ring_log.h"

namespace emu::work_log {

namespace {

RingLog<nccl4jEmuWork_t>& log() {
  static RingLog<nccl4jEmuWork_t>& instance = *new RingLog<nccl4jEmuWork_t>;
  return instance;
}

std::atomic<bool> recording{false};

}  // namespace

void setCapacity(size_t capacity) {
  log().setCapacity(capacity);
  recording.store(capacity != 0, std::memory_order_relaxed);
}

bool on() { return recording.load(std::memory_order_relaxed); }

void add(const nccl4jEmuWork_t& work) {
  log().add([&](nccl4jEmuWork_t& record, uint64_t) { record = work; });
}

void copyName(const char* name, nccl4jEmuWork_t* work) { copyText(work->operation, name); }

size_t copy(uint64_t from, nccl4jEmuWork_t* out, size_t capacity) { return log().copy(from, out, capacity); }

}  // namespace emu::work_log
