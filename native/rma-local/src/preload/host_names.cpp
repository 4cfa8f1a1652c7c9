// Gives the ranks of different LSA teams different host names, but only where NCCL EP asks, which counts nodes by them.
// NCCL itself must go on seeing one host.
//
// The rank is in the name of the thread, "rank-3", which is how ./ep test names the threads of ranks; the size of a
// team is that of NCCL_LSA_TEAM_SIZE.
#include <pthread.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "caller.h"

namespace {

// The team of this thread's rank, or -1.
int team() {
  const char* size = std::getenv("NCCL_LSA_TEAM_SIZE");
  char name[16] = "";
  int rank = 0;
  if (size == nullptr || std::atoi(size) <= 0) return -1;
  if (pthread_getname_np(pthread_self(), name, sizeof name) != 0 || std::sscanf(name, "rank-%d", &rank) != 1) {
    std::fprintf(stderr,
                 "nccl4j one-host: the host name is asked for on thread '%s', whose name is not that of a rank, "
                 "such as rank-3: it gets the real one\n",
                 name);
    return -1;
  }
  return rank / std::atoi(size);
}

}  // namespace

extern "C" __attribute__((visibility("default"), noinline)) int gethostname(char* name, std::size_t size) noexcept {
  utsname system{};
  if (uname(&system) != 0) return -1;
  char text[sizeof system.nodename + 16];
  const int of = one_host::isNcclEp(__builtin_return_address(0)) ? team() : -1;
  if (of < 0) std::snprintf(text, sizeof text, "%s", system.nodename);
  else std::snprintf(text, sizeof text, "%s-team-%d", system.nodename, of);
  const std::size_t length = std::strlen(text) + 1;
  std::memcpy(name, text, length < size ? length : size);
  if (length <= size) return 0;
  errno = ENAMETOOLONG;
  return -1;
}

// Where nccl4j has loaded this library, it asks here too, under the emulator's name for the question, before it lets
// high throughput go to several teams. Returns cudaSuccess.
extern "C" __attribute__((visibility("default"))) int nccl4jEmuHostOf(int, int* host) noexcept {
  const int of = team();
  *host = of < 0 ? 0 : of;
  return 0;
}
