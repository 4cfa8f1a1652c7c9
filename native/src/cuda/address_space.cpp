#include "cuda/address_space.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/host_access.h"
#include "base/never_destroyed.h"
#include "base/options.h"

namespace emu {

namespace {

constexpr size_t kGiB = size_t{1} << 30;
#if defined(__SANITIZE_THREAD__)
// The thread sanitizer only knows a small part of the address space.
constexpr size_t kReservations[] = {64 * kGiB, 8 * kGiB, 1 * kGiB};
#else
constexpr size_t kReservations[] = {16384 * kGiB, 2048 * kGiB, 256 * kGiB, 32 * kGiB, 1 * kGiB};
#endif

// Large in every float type and far out of range as an expert number, so that reading it by mistake shows.
constexpr int kPoison = 0x7F;
constexpr size_t kPoisonBytes = size_t{16} << 20;

// A file full of the pattern: mapped privately, it poisons memory of any size without backing it.
int poisonFile() {
  static const int file = [] {
    const int fd = memfd_create("nccl4j-poison", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(kPoisonBytes)) != 0) return -1;
    void* data = mmap(nullptr, kPoisonBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return -1;
    std::memset(data, kPoison, kPoisonBytes);
    munmap(data, kPoisonBytes);
    return fd;
  }();
  return file;
}

bool openPoisoned(uintptr_t base, size_t bytes) {
  const int file = poisonFile();
  if (file < 0) return false;
  for (size_t offset = 0; offset < bytes; offset += kPoisonBytes) {
    void* piece = reinterpret_cast<void*>(base + offset);
    const size_t length = std::min(kPoisonBytes, bytes - offset);
    if (mmap(piece, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, 0) == MAP_FAILED) return false;
  }
  return true;
}

// Of the mappings that the kernel allows a process, the program keeps a quarter, and at least as many as a large one
// needs.
constexpr size_t kProgramMappings = 16384;
constexpr size_t kUsualLimit = 65530;
std::atomic<size_t> mappingsInUse{0};

size_t mostMappings() {
  static const size_t most = [] {
    size_t limit = kUsualLimit;
    if (FILE* file = std::fopen("/proc/sys/vm/max_map_count", "r")) {
      if (std::fscanf(file, "%zu", &limit) != 1) limit = kUsualLimit;
      std::fclose(file);
    }
    return limit - std::min(limit / 2, std::max(kProgramMappings, limit / 4));
  }();
  return most;
}

void* reserve(void* where, size_t bytes, int flags) {
  return mmap(where, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

}  // namespace

bool AddressRange::open() {
  const bool poisoned = options::poison();
  // A piece of its own and the rest of the reservation behind it.
  const size_t mappings = 1 + (poisoned ? (bytes_ + kPoisonBytes - 1) / kPoisonBytes : 1);
  if (mappingsInUse.fetch_add(mappings) + mappings > mostMappings()) {
    mappingsInUse.fetch_sub(mappings);
    return false;
  }
  mappingsInUse.fetch_sub(mappings_.exchange(mappings));
  if (poisoned) return openPoisoned(base_, bytes_);
  return mprotect(reinterpret_cast<void*>(base_), bytes_, PROT_READ | PROT_WRITE) == 0;
}

void AddressRange::close() {
  mappingsInUse.fetch_sub(mappings_.exchange(0));
  void* address = reinterpret_cast<void*>(base_);
  if (reserve(address, bytes_, MAP_FIXED) != MAP_FAILED) return;
  // Out of map entries: at least the pages go.
  madvise(address, bytes_, MADV_DONTNEED);
}

AddressRange::~AddressRange() {
  close();
  AddressSpace::instance().give(base_);
}

AddressSpace& AddressSpace::instance() { return neverDestroyed<AddressSpace>(); }

size_t AddressSpace::wholePages(size_t bytes) {
  return (bytes + host::pageSize() - 1) / host::pageSize() * host::pageSize();
}

uintptr_t AddressSpace::take(size_t bytes) {
  if (bytes > SIZE_MAX / 4) return 0;
  const size_t length = wholePages(bytes) + host::pageSize();
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Region& region : regions_) {
    const uintptr_t base = takeFrom(region, length);
    if (base != 0) return base;
  }
  return addRegion(length) ? takeFrom(regions_.back(), length) : 0;
}

void AddressSpace::give(uintptr_t base) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Region& region : regions_) {
    if (region.taken.erase(base) != 0) return;
  }
}

bool AddressSpace::contains(const void* address) {
  const auto number = reinterpret_cast<uintptr_t>(address);
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(regions_.begin(), regions_.end(),
                     [&](const Region& region) { return number >= region.base && number - region.base < region.bytes; });
}

bool AddressSpace::addRegion(size_t least) {
  for (const size_t bytes : kReservations) {
    const size_t length = std::max(bytes, wholePages(least));
    void* base = reserve(nullptr, length, 0);
    if (base == MAP_FAILED) continue;
    const auto start = reinterpret_cast<uintptr_t>(base);
    regions_.push_back(Region{start, length, start, {}});
    return true;
  }
  return false;
}

uintptr_t AddressSpace::takeFrom(Region& region, size_t bytes) {
  const uintptr_t end = region.base + region.bytes;
  uintptr_t base = firstFit(region, region.cursor, end, bytes);
  if (base == 0) base = firstFit(region, region.base, region.cursor, bytes);
  if (base == 0) return 0;
  region.taken.emplace(base, base + bytes);
  region.cursor = base + bytes;
  return base;
}

uintptr_t AddressSpace::firstFit(Region& region, uintptr_t from, uintptr_t to, size_t bytes) {
  auto next = region.taken.lower_bound(from);
  uintptr_t candidate = from;
  while (true) {
    const uintptr_t limit = next == region.taken.end() ? to : std::min(next->first, to);
    if (limit > candidate && limit - candidate >= bytes) return candidate;
    if (next == region.taken.end() || next->first >= to) return 0;
    candidate = next->second;
    ++next;
  }
}

}  // namespace emu
