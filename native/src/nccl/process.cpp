#include "nccl/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace emu {

namespace {

struct Status {
  char state;
  long threads;
  uint64_t started;
};

// Reads /proc/<pid>/stat. The name of the program is in parentheses and may hold anything, so fields count from the last ')'.
bool readStatus(int pid, Status* status) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[1024];
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return false;
  text[length] = 0;
  const char* field = strrchr(text, ')');
  if (field == nullptr) return false;
  // After the name: state is field 3 of proc(5), the number of threads 20, the start time 22.
  int number = 2;
  for (const char* space = strchr(field, ' '); space != nullptr; space = strchr(space + 1, ' ')) {
    ++number;
    if (number == 3) status->state = space[1];
    if (number == 20) status->threads = strtol(space + 1, nullptr, 10);
    if (number == 22) {
      status->started = strtoull(space + 1, nullptr, 10);
      return true;
    }
  }
  return false;
}

}  // namespace

ProcessIdentity self() {
  // Per thread, so that no lock can be held by a thread that a fork leaves behind.
  static thread_local ProcessIdentity known{0, 0};
  const int32_t pid = static_cast<int32_t>(getpid());
  if (known.pid != pid) {
    Status status{};
    readStatus(pid, &status);
    known = ProcessIdentity{pid, status.started};
  }
  return known;
}

bool exists(const ProcessIdentity& process) {
  Status status{};
  if (!readStatus(process.pid, &status)) return false;
  if (status.started != process.started) return false;
  // The first thread of a process may end before the others: a zombie with further threads is alive.
  const bool ended = status.state == 'Z' || status.state == 'X' || status.state == 'x';
  return !(ended && status.threads <= 1);
}

void randomBytes(void* out, size_t bytes) {
  unsigned char* next = static_cast<unsigned char*>(out);
  while (bytes > 0) {
    const ssize_t got = getrandom(next, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) abort();  // the kernel has had getrandom since 3.17 and it cannot fail for other reasons
    next += got;
    bytes -= static_cast<size_t>(got);
  }
}

}  // namespace emu
