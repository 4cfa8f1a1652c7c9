#include "cuda/streams.h"

#include <algorithm>
#include <mutex>

#include "base/options.h"
#include "cuda/device.h"
#include "cuda/failure.h"
#include "cuda/handle_table.h"

namespace emu::streams {

namespace {

struct OfDevice {
  std::mutex mutex;
  std::vector<std::shared_ptr<Stream>> all;
  std::shared_ptr<Stream> legacy;
  std::atomic<bool> legacyUsed{false};
  std::atomic<uint64_t> generation{0};  // rises with every reset: per-thread streams of before are gone
};

OfDevice& of(int device) { return device::perDevice<OfDevice>(device); }

using Table = HandleTable<cudaStream_t, Stream, 0x51>;
Table& table() { return neverDestroyed<Table>(); }

uint64_t nextId() {
  static std::atomic<uint64_t> last{2};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::shared_ptr<Stream> enlist(std::shared_ptr<Stream> stream) {
  OfDevice& home = of(stream->device());
  const std::lock_guard<std::mutex> lock(home.mutex);
  home.all.push_back(stream);
  return stream;
}

// The per-thread default streams of one thread; they end with it.
class ThreadStreams {
 public:
  ~ThreadStreams() {
    for (const PerDevice& entry : entries_) {
      if (entry.stream != nullptr) entry.stream->close();
    }
  }

  std::shared_ptr<Stream> get(int device) {
    PerDevice& entry = entries_[device];
    const uint64_t generation = of(device).generation.load();
    if (entry.stream == nullptr || entry.generation != generation) {
      entry.generation = generation;
      entry.stream = enlist(std::make_shared<Stream>(cudaStreamPerThread, nextId(), device, 0, 0));
    }
    return entry.stream;
  }

 private:
  struct PerDevice {
    std::shared_ptr<Stream> stream;
    uint64_t generation = 0;
  };
  PerDevice entries_[options::kMostDevices];
};

thread_local ThreadStreams threadStreams;

}  // namespace

std::shared_ptr<Stream> find(cudaStream_t handle) {
  if (device::lostByFork()) return nullptr;
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy(device::current());
  return handle == cudaStreamPerThread ? threadStreams.get(device::current()) : table().find(handle);
}

std::shared_ptr<Stream> get(cudaStream_t handle) {
  require(!device::lostByFork(), cudaErrorInitializationError);
  std::shared_ptr<Stream> stream = find(handle);
  require(stream != nullptr, cudaErrorInvalidResourceHandle);
  return stream;
}

std::shared_ptr<Stream> getForLaunch(cudaStream_t handle) {
  std::shared_ptr<Stream> stream = get(handle);
  require(stream->device() == device::current(), cudaErrorInvalidResourceHandle);
  check(device::sticky(stream->device()));
  return stream;
}

std::shared_ptr<Stream> legacy(int device) {
  OfDevice& home = of(device);
  const std::lock_guard<std::mutex> lock(home.mutex);
  if (home.legacy == nullptr) {
    home.legacy = std::make_shared<Stream>(cudaStreamLegacy, nextId(), device, 0, 0);
    home.all.push_back(home.legacy);
    home.legacyUsed.store(true, std::memory_order_release);
  }
  return home.legacy;
}

std::shared_ptr<Stream> legacyIfUsed(int device) {
  OfDevice& home = of(device);
  if (!home.legacyUsed.load(std::memory_order_acquire)) return nullptr;
  const std::lock_guard<std::mutex> lock(home.mutex);
  return home.legacy;
}

std::shared_ptr<Stream> create(int device, unsigned flags, int priority) {
  return table().insert([&](cudaStream_t handle) {
    return enlist(std::make_shared<Stream>(handle, nextId(), device, flags, priority));
  });
}

void destroy(cudaStream_t handle) {
  const std::shared_ptr<Stream> stream = table().take(handle);
  require(stream != nullptr, cudaErrorInvalidResourceHandle);
  stream->close();
}

void destroyAll(int device) {
  OfDevice& home = of(device);
  std::vector<std::shared_ptr<Stream>> all;
  {
    const std::lock_guard<std::mutex> lock(home.mutex);
    all = home.all;
    home.legacy = nullptr;
    home.legacyUsed.store(false, std::memory_order_release);
    ++home.generation;
  }
  for (const std::shared_ptr<Stream>& stream : all) {
    table().take(stream->handle());
    stream->discard();
    stream->close();
  }
  for (const std::shared_ptr<Stream>& stream : all) hostWait(stream->tail());
}

std::vector<std::shared_ptr<Stream>> ofDevice(int device) {
  OfDevice& home = of(device);
  const std::lock_guard<std::mutex> lock(home.mutex);
  return home.all;
}

void workerEnded(Stream& stream) {
  OfDevice& home = of(stream.device());
  std::shared_ptr<Stream> last;  // outlives the lock
  const std::lock_guard<std::mutex> lock(home.mutex);
  const auto found =
      std::find_if(home.all.begin(), home.all.end(), [&](const auto& other) { return other.get() == &stream; });
  if (found == home.all.end()) return;
  last = std::move(*found);
  home.all.erase(found);
}

size_t created(int device) { return table().count(device); }

void hostWait(const Point& point) {
  if (point.reached() || Stream::onWorker()) return;
  device::countHostWait();
  point.wait();
}

}  // namespace emu::streams
