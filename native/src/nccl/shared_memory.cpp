#include "nccl/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "base/never_destroyed.h"

namespace emu {

namespace {

constexpr const char kName[] = "nccl4j-emulator";

// Live mappings of this process by inode and size.
using MappingKey = std::pair<uint64_t, size_t>;

struct Mappings {
  std::mutex mutex;
  std::map<MappingKey, std::weak_ptr<Segment>> live;
};

Mappings& mappings() { return neverDestroyed<Mappings>(); }

// No file; `why` tells the reason.
File none(std::string* why, std::string reason) {
  *why = std::move(reason);
  return File();
}

std::string systemError(const char* what) { return std::string(what) + ": " + strerror(errno); }

bool inodeOf(int fd, uint64_t* inode) {
  struct stat status;
  if (fstat(fd, &status) != 0) return false;
  *inode = static_cast<uint64_t>(status.st_ino);
  return true;
}

}  // namespace

File::~File() {
  if (fd_ >= 0) close(fd_);
}

Segment::~Segment() { munmap(data_, bytes_ == 0 ? 1 : bytes_); }

File SharedMemory::create(size_t bytes, std::string* why) {
  File file(memfd_create(kName, MFD_CLOEXEC));
  if (!file) return none(why, systemError("memfd_create"));
  const bool sized = ftruncate(file.fd(), static_cast<off_t>(bytes == 0 ? 1 : bytes)) == 0;
  return sized ? std::move(file) : none(why, systemError("ftruncate"));
}

MemoryAddress SharedMemory::addressOf(const File& file, size_t bytes) {
  MemoryAddress address{self(), file.fd(), 0, bytes};
  inodeOf(file.fd(), &address.inode);
  return address;
}

File SharedMemory::open(const MemoryAddress& address, std::string* why) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", address.owner.pid, address.fd);
  // The number may stand for something else by now, and opening a pipe or a terminal has effects: look before.
  char target[64];
  const ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return none(why, systemError(path));
  target[length] = 0;
  const std::string expected = std::string("/memfd:") + kName;
  if (strncmp(target, expected.c_str(), expected.size()) != 0) {
    return none(why, std::string(path) + " is not the shared memory it once was");
  }
  File file(::open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!file) return none(why, systemError(path));
  uint64_t inode = 0;
  if (inodeOf(file.fd(), &inode) && inode == address.inode) return file;
  return none(why, std::string(path) + " is other shared memory than it once was");
}

std::shared_ptr<Segment> SharedMemory::map(const File& file, size_t bytes, std::string* why) {
  uint64_t inode = 0;
  if (!inodeOf(file.fd(), &inode)) {
    *why = systemError("fstat");
    return nullptr;
  }
  Mappings& known = mappings();
  std::lock_guard<std::mutex> lock(known.mutex);
  std::weak_ptr<Segment>& entry = known.live[MappingKey(inode, bytes)];
  if (std::shared_ptr<Segment> segment = entry.lock()) return segment;
  void* data = mmap(nullptr, bytes == 0 ? 1 : bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.fd(), 0);
  if (data == MAP_FAILED) {
    *why = systemError("mmap");
    known.live.erase(MappingKey(inode, bytes));
    return nullptr;
  }
  std::shared_ptr<Segment> segment(new Segment(static_cast<unsigned char*>(data), bytes));
  entry = segment;
  for (auto it = known.live.begin(); it != known.live.end();) {
    it = it->second.expired() ? known.live.erase(it) : std::next(it);
  }
  return segment;
}

std::shared_ptr<Segment> SharedMemory::map(const MemoryAddress& address, std::string* why) {
  const size_t bytes = static_cast<size_t>(address.bytes);
  {
    Mappings& known = mappings();
    std::lock_guard<std::mutex> lock(known.mutex);
    const auto it = known.live.find(MappingKey(address.inode, bytes));
    if (it != known.live.end()) {
      if (std::shared_ptr<Segment> segment = it->second.lock()) return segment;
    }
  }
  const File file = open(address, why);
  return file ? map(file, bytes, why) : nullptr;
}

}  // namespace emu
