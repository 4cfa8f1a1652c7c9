#include "base/host_access.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/options.h"

namespace emu {

namespace {

constexpr size_t kPagesPerCall = 256;
constexpr size_t kLongestText = size_t{1} << 16;

using host::pageSize;

// Pages that the `bytes` at `address` lie in; the bytes do not wrap.
size_t pagesOf(uintptr_t address, size_t bytes) { return (address + bytes - 1) / pageSize() - address / pageSize() + 1; }

// The first of the bytes that lies in their n-th page.
uintptr_t inPage(uintptr_t address, size_t n) { return n == 0 ? address : (address / pageSize() + n) * pageSize(); }

// In both, the kernel does it on our behalf and answers EFAULT instead of a signal. Where it may not be asked, pointers
// are trusted.

bool pagesReadable(uintptr_t address, size_t bytes) {
  unsigned char read[kPagesPerCall];
  iovec there[kPagesPerCall];
  const size_t pages = pagesOf(address, bytes);
  for (size_t done = 0; done < pages;) {
    const size_t count = std::min(pages - done, kPagesPerCall);
    for (size_t i = 0; i < count; ++i) there[i] = {reinterpret_cast<void*>(inPage(address, done + i)), 1};
    const iovec here = {read, count};
    const ssize_t moved = process_vm_readv(getpid(), &here, 1, there, count, 0);
    if (moved != static_cast<ssize_t>(count)) return moved < 0 && errno != EFAULT;
    done += count;
  }
  return true;
}

// An atomic "or 0" of a word in each page changes nothing, whoever else writes there.
bool pagesWritable(uintptr_t address, size_t bytes) {
  static std::atomic<uint32_t> own{0};
  const int nothing = FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0);
  const size_t pages = pagesOf(address, bytes);
  for (size_t page = 0; page < pages; ++page) {
    auto* word = reinterpret_cast<uint32_t*>(inPage(address, page) / sizeof(uint32_t) * sizeof(uint32_t));
    const long woken = syscall(SYS_futex, reinterpret_cast<uint32_t*>(&own), FUTEX_WAKE_OP, 0, nullptr, word, nothing);
    if (woken < 0) return errno != EFAULT;
  }
  return true;
}

// The shadow memory of AddressSanitizer on x86-64 is mapped, but instrumented code ends the process when it reads there.
bool inShadow(uintptr_t address) {
#if defined(__SANITIZE_ADDRESS__) && defined(__x86_64__)
  constexpr uintptr_t kShadow = 0x7fff8000;
  constexpr uintptr_t kShadowBytes = uintptr_t{1} << 44;
  return address >= kShadow && address - kShadow < kShadowBytes;
#else
  (void)address;
  return false;
#endif
}

bool possible(const void* address, size_t bytes) {
  const auto first = reinterpret_cast<uintptr_t>(address);
  return address != nullptr && first + bytes >= bytes && !inShadow(first);
}

}  // namespace

size_t host::pageSize() {
  static const auto size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

bool host::mapped(const void* address, size_t bytes) {
  return bytes == 0 || (possible(address, bytes) && pagesReadable(reinterpret_cast<uintptr_t>(address), bytes));
}

bool host::readable(const void* address, size_t bytes) {
  return bytes == 0 || (possible(address, bytes) && (!options::reportMisuse() || mapped(address, bytes)));
}

bool host::writable(const void* address, size_t bytes) {
  if (bytes == 0) return true;
  if (!possible(address, bytes)) return false;
  return !options::reportMisuse() || pagesWritable(reinterpret_cast<uintptr_t>(address), bytes);
}

bool host::readText(const char* text, std::string* out) {
  if (text == nullptr) return false;
  out->clear();
  if (!options::reportMisuse()) {
    *out = text;
    return true;
  }
  while (out->size() < kLongestText) {
    const char* const part = text + out->size();
    const size_t inThisPage = pageSize() - reinterpret_cast<uintptr_t>(part) % pageSize();
    if (!mapped(part, inThisPage)) return false;
    const size_t length = strnlen(part, inThisPage);
    out->append(part, length);
    if (length < inThisPage) return true;
  }
  return false;
}

}  // namespace emu
