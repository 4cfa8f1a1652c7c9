#include "base/options.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "abi/nccl.h"
#include "base/never_destroyed.h"
#include "base/visible_devices.h"
#include "nccl4j_emulator.h"

namespace emu::options {

namespace {

enum Index {
  kMisuse,
  kPoison,
  kShuffle,
  kApi,
  kComputeCapability,
  kDevices,
  kDeviceMemory,
  kSms,
  kSharedDevices,
  kWaitLimit,
  kHostDevices,
  kBuiltNccl,
  kCount
};

struct Option {
  const char* name;
  const char* variable;
  uint64_t initial;
  uint64_t least;
  uint64_t most;
};

constexpr Option kOptions[kCount] = {
    {"misuse", "NCCL4J_EMU_MISUSE", 0, 0, 1},
    {"poison", "NCCL4J_EMU_POISON", 0, 0, 1},
    {"shuffle", "NCCL4J_EMU_SHUFFLE", 0, 0, UINT64_MAX},
    {"api", "NCCL4J_EMU_API", 100, 100, 200},
    {"compute_capability", "NCCL4J_EMU_COMPUTE_CAPABILITY", 90, 90, 100},
    {"devices", "NCCL4J_EMU_DEVICES", kMostDevices, 1, kMostDevices},
    {"device_memory", "NCCL4J_EMU_DEVICE_MEMORY", 85899345920ULL, 1, 1ULL << 46},
    {"sms", "NCCL4J_EMU_SMS", 132, 1, 1024},
    {"shared_devices", "NCCL4J_EMU_SHARED_DEVICES", 0, 0, 1},
    {"wait_limit_ms", "NCCL4J_EMU_WAIT_LIMIT_MS", 0, 0, UINT64_MAX},
    {"host_devices", "NCCL4J_EMU_HOST_DEVICES", 0, 0, 64},
    {"built_nccl", "NCCL4J_EMU_BUILT_NCCL", NCCL_VERSION_CODE, 20000, 99999},
};

constexpr const char* kVisibleDevices = "CUDA_VISIBLE_DEVICES";

// Options that are given by words.
struct Word {
  int index;
  const char* text;
  uint64_t value;
};
constexpr Word kWords[] = {{kMisuse, "abort", 0}, {kMisuse, "report", 1}, {kApi, "2", 100}, {kApi, "0.2.0", 200}};

bool parse(int index, const char* text, uint64_t* value) {
  bool words = false;
  for (const Word& word : kWords) {
    if (word.index != index) continue;
    words = true;
    *value = word.value;
    if (std::strcmp(text, word.text) == 0) return true;
  }
  if (words) return false;
  if (*text < '0' || *text > '9') return false;
  errno = 0;
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text, &end, 10);
  if (errno != 0 || *end != '\0') return false;
  if (number < kOptions[index].least || number > kOptions[index].most) return false;
  if (index == kComputeCapability && number != 90 && number != 100) return false;
  *value = number;
  return true;
}

struct Store {
  std::atomic<uint64_t> values[kCount];
  std::atomic<bool> devicesFixed{false};
  std::vector<int> devices;  // that the process sees; once fixed
  std::mutex mutex;
  std::map<std::string, std::string> environment;

  Store() {
    for (int i = 0; i < kCount; ++i) {
      uint64_t value = kOptions[i].initial;
      const char* text = std::getenv(kOptions[i].variable);
      if (text != nullptr && *text != '\0' && !parse(i, text, &value)) {
        std::fprintf(stderr, "nccl4j emulator: %s=%s is not valid, ignored\n", kOptions[i].variable, text);
        value = kOptions[i].initial;
      }
      values[i].store(value, std::memory_order_relaxed);
    }
  }
};

Store& store() { return neverDestroyed<Store>(); }

uint64_t value(int index) { return store().values[index].load(std::memory_order_relaxed); }

int find(const char* name) {
  for (int i = 0; name != nullptr && i < kCount; ++i) {
    if (std::strcmp(kOptions[i].name, name) == 0) return i;
  }
  return -1;
}

std::vector<int> seenNow(std::string* complaint) {
  std::vector<int> all(value(kDevices));
  std::iota(all.begin(), all.end(), 0);
  std::string list;
  return environment(kVisibleDevices, &list) ? visibleDevices(list, static_cast<int>(all.size()), complaint) : all;
}

// From the first use on they stay.
const std::vector<int>& seen() {
  Store& all = store();
  if (!all.devicesFixed.load(std::memory_order_acquire)) {
    std::string complaint;
    std::vector<int> now = seenNow(&complaint);
    if (!complaint.empty()) std::fprintf(stderr, "nccl4j emulator: %s: %s\n", kVisibleDevices, complaint.c_str());
    const std::lock_guard<std::mutex> lock(all.mutex);
    if (!all.devicesFixed.load(std::memory_order_relaxed)) all.devices = std::move(now);
    all.devicesFixed.store(true, std::memory_order_release);
  }
  return all.devices;
}

}  // namespace

bool reportMisuse() { return value(kMisuse) != 0; }
bool poison() { return value(kPoison) != 0; }
uint64_t shuffleSeed() { return value(kShuffle); }
int epVersion() { return static_cast<int>(value(kApi)); }
int computeCapability() { return static_cast<int>(value(kComputeCapability)); }
int devices() { return static_cast<int>(seen().size()); }
int devicesSoFar() {
  std::string complaint;
  const bool fixed = store().devicesFixed.load(std::memory_order_acquire);
  return fixed ? devices() : static_cast<int>(seenNow(&complaint).size());
}
int hostOf(int machineDevice) {
  const auto size = static_cast<int>(value(kHostDevices));
  return size == 0 ? 0 : machineDevice / size;
}
int machineDevice(int device) { return seen()[static_cast<size_t>(device)]; }
uint64_t deviceMemory() { return value(kDeviceMemory); }
int multiprocessors() { return static_cast<int>(value(kSms)); }
bool sharedDevices() { return value(kSharedDevices) != 0; }
uint64_t waitLimitMs() { return value(kWaitLimit); }
int builtNccl() { return static_cast<int>(value(kBuiltNccl)); }

int set(const char* name, const char* text) {
  const int index = find(name);
  if (index < 0) return NCCL4J_EMU_UNKNOWN_NAME;
  uint64_t given = 0;
  if (text == nullptr || !parse(index, text, &given)) return NCCL4J_EMU_BAD_VALUE;
  Store& all = store();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (index == kDevices && all.devicesFixed && given != value(index)) return NCCL4J_EMU_TOO_LATE;
  all.values[index].store(given, std::memory_order_relaxed);
  return NCCL4J_EMU_OK;
}

int get(const char* name, std::string* text) {
  const int index = find(name);
  if (index < 0) return NCCL4J_EMU_UNKNOWN_NAME;
  *text = std::to_string(value(index));
  for (const Word& word : kWords) {
    if (word.index == index && word.value == value(index)) *text = word.text;
  }
  return NCCL4J_EMU_OK;
}

int setEnvironment(const char* name, const char* text) {
  if (name == nullptr || *name == '\0' || std::strchr(name, '=') != nullptr) return NCCL4J_EMU_BAD_VALUE;
  Store& all = store();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (text == nullptr) {
    all.environment.erase(name);
  } else {
    all.environment[name] = text;
  }
  return NCCL4J_EMU_OK;
}

bool environment(const char* name, std::string* text) {
  {
    Store& all = store();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const auto entry = all.environment.find(name);
    if (entry != all.environment.end()) {
      *text = entry->second;
      return true;
    }
  }
  const char* found = std::getenv(name);
  if (found != nullptr) *text = found;
  return found != nullptr;
}

}  // namespace emu::options
