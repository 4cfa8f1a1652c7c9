#include "base/calls.h"

#include <dlfcn.h>

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "base/host_access.h"
#include "base/never_destroyed.h"
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

struct Registry {
  std::mutex mutex;
  std::vector<Function*> functions;
  std::map<std::string, std::vector<Preset>> presets;
};

Registry& registry() { return neverDestroyed<Registry>(); }

// Under the lock, as what follows.
void mark(const std::string& name, bool preset) {
  for (Function* function : registry().functions) {
    if (name == function->name) function->preset.store(preset, std::memory_order_relaxed);
  }
}

// Functions register at their first call, so an unknown one is looked up among the exported symbols too.
bool known(const char* name) {
  for (const Function* function : registry().functions) {
    if (std::strcmp(function->name, name) == 0) return true;
  }
  Dl_info self;
  if (dladdr(reinterpret_cast<const void*>(&calls::rank), &self) == 0) return false;
  // NULL for the program itself, of which the rooms are part in the tests.
  void* library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  void* symbol = dlsym(library != nullptr ? library : RTLD_DEFAULT, name);
  if (library != nullptr) dlclose(library);
  Dl_info owner;
  return symbol != nullptr && dladdr(symbol, &owner) != 0 && owner.dli_fbase == self.dli_fbase;
}

thread_local int currentRank = -1;

}  // namespace

Function::Function(const char* functionName) : name(functionName) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().functions.push_back(this);
  if (registry().presets.count(name) != 0) preset.store(true, std::memory_order_relaxed);
}

namespace calls {

RingLog<nccl4jEmuCall_t>& log() { return neverDestroyed<RingLog<nccl4jEmuCall_t>>(); }

bool takePreset(Function& function, int* result) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const auto found = registry().presets.find(function.name);
  if (found == registry().presets.end()) return false;
  std::vector<Preset>& queue = found->second;
  Preset& first = queue.front();
  if (first.skip > 0) {
    --first.skip;
    return false;
  }
  *result = first.result;
  if (--first.times == 0) queue.erase(queue.begin());
  if (queue.empty()) {
    registry().presets.erase(found);
    mark(function.name, false);
  }
  return true;
}

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

uint64_t count(const char* name) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  uint64_t sum = 0;
  for (const Function* function : registry().functions) {
    const bool counts = name == nullptr || std::strcmp(function->name, name) == 0;
    if (counts) sum += function->calls.load(std::memory_order_relaxed);
  }
  return sum;
}

bool preset(const char* name, int result, uint64_t skip, uint64_t times) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  if (!known(name)) return false;
  registry().presets[name].push_back(Preset{result, skip, times});
  mark(name, true);
  return true;
}

void clearPresets() {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().presets.clear();
  for (Function* function : registry().functions) function->preset.store(false, std::memory_order_relaxed);
}

}  // namespace calls
}  // namespace emu
