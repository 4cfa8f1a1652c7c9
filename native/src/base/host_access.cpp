#include "base/host_access.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "base/options.h"

namespace emu {

namespace {

// The kernel reads (or writes back what it read) on our behalf and answers EFAULT instead of a signal. Where it may not be
// asked, pointers are trusted.
bool reachable(const void* address, size_t bytes, bool write) {
  if (bytes == 0) return true;
  if (address == nullptr || reinterpret_cast<uintptr_t>(address) + bytes < bytes) return false;
  if (!options::reportMisuse()) return true;
  unsigned char buffer[256];
  for (size_t done = 0; done < bytes;) {
    const size_t part = bytes - done < sizeof buffer ? bytes - done : sizeof buffer;
    const iovec here = {buffer, part};
    const iovec there = {const_cast<unsigned char*>(static_cast<const unsigned char*>(address)) + done, part};
    ssize_t moved = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    if (write && moved == static_cast<ssize_t>(part)) moved = process_vm_writev(getpid(), &here, 1, &there, 1, 0);
    if (moved != static_cast<ssize_t>(part)) return moved < 0 && errno != EFAULT;
    done += part;
  }
  return true;
}

}  // namespace

bool host::readable(const void* address, size_t bytes) { return reachable(address, bytes, false); }
bool host::writable(const void* address, size_t bytes) { return reachable(address, bytes, true); }

}  // namespace emu
