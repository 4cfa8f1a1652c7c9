#include "base/calls.h"

#include <dlfcn.h>

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "base/host_access.h"
#include "base/never_destroyed.h"
#include "base/ring_log.h"
#include "base/thread.h"

namespace emu {

// ---- arguments ----

void Arguments::name(const char* name) {
  if (!text_.empty() && text_.back() != '{') text_ += ' ';
  text_ += name;
  text_ += '=';
}

void Arguments::pointer(const char* name, const void* value) {
  if (value == nullptr) {
    text(name, "NULL");
    return;
  }
  char digits[2 + 16 + 1];
  std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(value)));
  text(name, digits);
}

void Arguments::number(const char* name, int64_t value) {
  this->name(name);
  text_ += std::to_string(value);
}

void Arguments::text(const char* name, const char* value) {
  this->name(name);
  text_ += value != nullptr ? value : "NULL";
}

void Arguments::open(const char* name) {
  this->name(name);
  text_ += '{';
}

void Arguments::close() { text_ += '}'; }

void describe(Arguments& arguments, const char* name, const char* value) {
  std::string text;
  if (host::readText(value, &text)) {
    arguments.text(name, text.c_str());
  } else {
    arguments.pointer(name, value);
  }
}

// ---- functions, presets ----

namespace {

struct Preset {
  int result;
  uint64_t skip;
  uint64_t times;
};

class Registry {
 public:
  void add(Function* function) {
    const std::lock_guard<std::mutex> lock(mutex_);
    functions_.push_back(function);
    if (presets_.count(function->name) != 0) function->preset.store(true, std::memory_order_relaxed);
  }

  bool take(Function& function, int* result) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = presets_.find(function.name);
    if (found == presets_.end()) return false;
    std::vector<Preset>& queue = found->second;
    Preset& first = queue.front();
    if (first.skip > 0) {
      --first.skip;
      return false;
    }
    *result = first.result;
    if (--first.times == 0) queue.erase(queue.begin());
    if (queue.empty()) {
      presets_.erase(found);
      mark(function.name, false);
    }
    return true;
  }

  bool set(const char* name, const Preset& preset) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!known(name)) return false;
    presets_[name].push_back(preset);
    mark(name, true);
    return true;
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    presets_.clear();
    for (Function* function : functions_) function->preset.store(false, std::memory_order_relaxed);
  }

  uint64_t count(const char* name) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    uint64_t sum = 0;
    for (const Function* function : functions_) {
      if (name == nullptr || std::strcmp(function->name, name) == 0) sum += function->calls.load(std::memory_order_relaxed);
    }
    return sum;
  }

 private:
  // Functions register at their first call, so an unknown one is looked up among the exported symbols too.
  bool known(const char* name) const {
    for (const Function* function : functions_) {
      if (std::strcmp(function->name, name) == 0) return true;
    }
    Dl_info self;
    if (dladdr(reinterpret_cast<const void*>(&calls::logging), &self) == 0) return false;
    // NULL for the program itself, of which the rooms are part in the tests.
    void* library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    void* symbol = dlsym(library != nullptr ? library : RTLD_DEFAULT, name);
    if (library != nullptr) dlclose(library);
    Dl_info owner;
    return symbol != nullptr && dladdr(symbol, &owner) != 0 && owner.dli_fbase == self.dli_fbase;
  }

  void mark(const std::string& name, bool preset) {
    for (Function* function : functions_) {
      if (name == function->name) function->preset.store(preset, std::memory_order_relaxed);
    }
  }

  mutable std::mutex mutex_;
  std::vector<Function*> functions_;
  std::map<std::string, std::vector<Preset>> presets_;
};

Registry& registry() { return neverDestroyed<Registry>(); }

RingLog<nccl4jEmuCall_t>& log() { return neverDestroyed<RingLog<nccl4jEmuCall_t>>(); }

thread_local int currentRank = -1;

}  // namespace

Function::Function(const char* functionName) : name(functionName) { registry().add(this); }

namespace calls {

bool logging() { return log().on(); }

bool takePreset(Function& function, int* result) { return registry().take(function, result); }

void record(Function& function, uint64_t start, int rank, int result, const std::string& arguments) {
  const uint64_t end = now();
  log().add([&](nccl4jEmuCall_t& call, uint64_t sequence) {
    call.sequence = sequence;
    call.time_ns = start;
    call.duration_ns = end - start;
    call.device = thread::device();
    call.rank = rank;
    call.thread = thread::id();
    call.result = result;
    copyText(call.function, function.name);
    copyText(call.arguments, arguments.c_str());
  });
}

std::string nextName(const char** list) {
  const char* first = *list + std::strspn(*list, "(), ");
  const char* end = first + std::strcspn(first, "(), ");
  if (*end == '(') {  // f(parameter)
    first = end + 1;
    end = first + std::strcspn(first, ")");
  }
  *list = end;
  return std::string(first, end);
}

void setRank(int rank) { currentRank = rank; }

int rank() { return currentRank; }

void setLogCapacity(size_t capacity) { log().setCapacity(capacity); }

size_t copyLog(uint64_t from, nccl4jEmuCall_t* out, size_t capacity) { return log().copy(from, out, capacity); }

uint64_t count(const char* function) { return registry().count(function); }

bool preset(const char* function, int result, uint64_t skip, uint64_t times) {
  return registry().set(function, Preset{result, skip, times});
}

void clearPresets() { registry().clear(); }

}  // namespace calls
}  // namespace emu
