// Where ranks share a device: lets all ranks meet, on the host, before a collective that NCCL EP makes.
//
// While it creates and destroys groups, NCCL EP makes collectives between calls that wait for the whole device, such as
// cudaFree, and calls on the legacy stream. On a shared device a rank would wait in them for the kernel of another that
// already waits for it. Once all have come to the next collective, nobody is in such a call.
#include <dlfcn.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "caller.h"

namespace {

bool isOfThisLibrary(const void* code) {
  static const char here = 0;
  Dl_info own{}, other{};
  return dladdr(&here, &own) != 0 && dladdr(code, &other) != 0 && own.dli_fbase == other.dli_fbase;
}

// The function of NCCL, wherever the program has loaded it.
template <typename Function>
Function* real(const char* name) {
  static void* const nccl = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
  void* found = dlsym(nccl != nullptr ? nccl : RTLD_DEFAULT, name);
  if (isOfThisLibrary(found)) found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "nccl4j one-host: NCCL is not loaded: there is no %s\n", name);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

bool sharedDevices() {
  const char* enabled = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return enabled != nullptr && std::strcmp(enabled, "1") == 0;
}

// One communicator at a time, whose ranks are all threads of this process.
void meet(void* communicator) {
  static std::mutex mutex;
  static std::condition_variable changed;
  static int arrived = 0;
  static long meetings = 0;
  int ranks = 0;
  if (real<int(void*, int*)>("ncclCommCount")(communicator, &ranks) != 0) return;
  std::unique_lock<std::mutex> lock(mutex);
  if (++arrived >= ranks) {
    arrived = 0;
    meetings++;
    changed.notify_all();
    return;
  }
  const long mine = meetings;
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(60);
  if (!changed.wait_until(lock, deadline, [&] { return meetings != mine; })) {
    std::fprintf(stderr, "nccl4j one-host: after 60 s only %d of %d ranks have come to a collective of NCCL EP\n",
                 arrived, ranks);
    arrived--;
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"), noinline)) int ncclAllGather(const void* from, void* to,
                                                                              std::size_t count, int type,
                                                                              void* communicator, void* stream) {
  if (sharedDevices() && one_host::isNcclEp(__builtin_return_address(0))) meet(communicator);
  return real<decltype(ncclAllGather)>("ncclAllGather")(from, to, count, type, communicator, stream);
}

extern "C" __attribute__((visibility("default"), noinline)) int ncclAllReduce(const void* from, void* to,
                                                                              std::size_t count, int type,
                                                                              int operation, void* communicator,
                                                                              void* stream) {
  if (sharedDevices() && one_host::isNcclEp(__builtin_return_address(0))) meet(communicator);
  return real<decltype(ncclAllReduce)>("ncclAllReduce")(from, to, count, type, operation, communicator, stream);
}
