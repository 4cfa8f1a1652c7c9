#include "nccl/process.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
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

enum class Look { Seen, NoSuchProcess, Failed };

Look failedLook() { return errno == ENOENT || errno == ESRCH ? Look::NoSuchProcess : Look::Failed; }

// Reads /proc/<pid>/stat. The name of the program is in parentheses and may hold anything, so fields count from the
// last ')'.
Look readStatus(int pid, Status* status) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failedLook();
  char text[1024];
  const ssize_t length = read(fd, text, sizeof text - 1);
  const Look unread = length < 0 ? failedLook() : Look::Failed;
  close(fd);
  if (length <= 0) return unread;
  text[length] = 0;
  const char* field = strrchr(text, ')');
  if (field == nullptr) return Look::Failed;
  // After the name: state is field 3 of proc(5), the number of threads 20, the start time 22.
  int number = 2;
  for (const char* space = strchr(field, ' '); space != nullptr; space = strchr(space + 1, ' ')) {
    ++number;
    if (number == 3) status->state = space[1];
    if (number == 20) status->threads = strtol(space + 1, nullptr, 10);
    if (number == 22) {
      status->started = strtoull(space + 1, nullptr, 10);
      return Look::Seen;
    }
  }
  return Look::Failed;
}

// Read once: a process without a free file descriptor is still itself. Without a lock, which a thread that a fork
// leaves behind could hold; all threads find the same.
std::atomic<uint64_t> knownStart{0};
std::atomic<int32_t> knownPid{0};  // whose start that is

}  // namespace

ProcessIdentity self() {
  const int32_t pid = static_cast<int32_t>(getpid());
  if (knownPid.load(std::memory_order_acquire) == pid) return {pid, knownStart.load(std::memory_order_relaxed)};
  Status status{};
  if (readStatus(pid, &status) == Look::Seen) {
    knownStart.store(status.started, std::memory_order_relaxed);
    knownPid.store(pid, std::memory_order_release);
  }
  return {pid, status.started};
}

bool exists(const ProcessIdentity& process) {
  if (process == self()) return true;
  Status status{};
  const Look look = readStatus(process.pid, &status);
  // A look that fails for another reason, such as no free file descriptor, says nothing about the process.
  if (look != Look::Seen) return look == Look::Failed && process.pid > 0;
  if (status.started != process.started) return false;
  // The first thread of a process may end before the others: a zombie with further threads is alive.
  const bool ended = status.state == 'Z' || status.state == 'X' || status.state == 'x';
  return !(ended && status.threads <= 1);
}

}  // namespace emu
