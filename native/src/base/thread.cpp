#include "base/thread.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace emu::thread {

namespace {

thread_local int currentDevice = 0;
thread_local int cachedId = 0;

// After fork the child's only thread has another id.
struct ForgetIdOnFork {
  ForgetIdOnFork() { pthread_atfork(nullptr, nullptr, [] { cachedId = 0; }); }
} forgetIdOnFork;

}  // namespace

int id() {
  if (cachedId == 0) cachedId = static_cast<int>(syscall(SYS_gettid));
  return cachedId;
}

int device() { return currentDevice; }

void setDevice(int device) { currentDevice = device; }

}  // namespace emu::thread
