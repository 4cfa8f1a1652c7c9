#include "group.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>

#include "report.h"

namespace rma_local {
namespace {

using abi::Result;

std::uint64_t processToken() {
  static const std::uint64_t token = [] {
    std::uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) random = static_cast<std::uint64_t>(getpid());
    return random;
  }();
  return token;
}

// How long a rank waits for the others.
std::chrono::seconds limit() {
  const char* seconds = std::getenv("NCCL4J_RMA_LOCAL_LIMIT_SECONDS");
  return std::chrono::seconds(seconds == nullptr ? 60 : std::atoi(seconds));
}

}  // namespace

Address newAddress() {
  static std::mutex mutex;
  static std::uint64_t last = 0;
  Address address{};
  const std::lock_guard<std::mutex> lock(mutex);
  address.process = processToken();
  address.number = ++last;
  address.processId = getpid();
  gethostname(address.host, sizeof address.host - 1);
  return address;
}

std::shared_ptr<Group> Group::join(const std::vector<Address>& addresses, int rank) {
  for (std::size_t i = 0; i < addresses.size(); i++) {
    const Address& of = addresses[i];
    if (of.process != processToken()) {
      rma_local::fail(Result::InvalidUsage,
                      "rank %zu is process %lld of host %.63s and rank %d process %d: this plugin copies between ranks "
                      "that are threads of one process only",
                      i, static_cast<long long>(of.processId), of.host, rank, static_cast<int>(getpid()));
    }
  }
  static std::mutex mutex;
  static std::map<std::uint64_t, std::weak_ptr<Group>> all;
  std::shared_ptr<Group> group;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    for (auto i = all.begin(); i != all.end();) i = i->second.expired() ? all.erase(i) : std::next(i);
    group = all[addresses[0].number].lock();
    if (group == nullptr) {
      all[addresses[0].number] = group = std::make_shared<Group>(static_cast<int>(addresses.size()));
    }
  }
  std::unique_lock<std::mutex> lock(group->mutex_);
  group->joined_.resize(addresses.size());
  group->await(lock, group->joined_, rank, "to connect");
  return group;
}

void Group::await(std::unique_lock<std::mutex>& lock, std::vector<bool>& arrived, int rank, const char* what) {
  arrived[static_cast<std::size_t>(rank)] = true;
  changed_.notify_all();
  const auto deadline = std::chrono::steady_clock::now() + limit();
  const auto complete = [&] { return std::find(arrived.begin(), arrived.end(), false) == arrived.end(); };
  while (!complete() && failure_.empty()) {
    // By the system's clock, as ThreadSanitizer knows no other wait with a limit.
    if (changed_.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(100)) ==
            std::cv_status::timeout &&
        std::chrono::steady_clock::now() > deadline) {
      break;
    }
  }
  if (complete()) return;
  if (!failure_.empty()) rma_local::fail(Result::SystemError, "rank %d gives up, as %s", rank, failure_.c_str());
  std::string missing;
  for (std::size_t i = 0; i < arrived.size(); i++) {
    if (!arrived[i]) missing += " " + std::to_string(i);
  }
  rma_local::fail(Result::SystemError, "rank %d has waited %lld s for others %s; missing:%s", rank,
                  static_cast<long long>(limit().count()), what, missing.c_str());
}

std::shared_ptr<Region> Group::registerPart(int rank, void* base, std::size_t size, int device) {
  std::unique_lock<std::mutex> lock(mutex_);
  const std::size_t number = registrations_[static_cast<std::size_t>(rank)]++;
  if (number == regions_.size()) {
    regions_.push_back({std::make_shared<Region>(ranks_), std::vector<bool>(static_cast<std::size_t>(ranks_))});
  }
  const std::shared_ptr<Region> region = regions_[number].region;
  Region::Part& part = region->part(rank);
  part.base = static_cast<char*>(base);
  part.size = size;
  part.device = device;
  await(lock, regions_[number].arrived, rank, "to register memory");
  return region;
}

void Group::fail(int rank, const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (failure_.empty()) failure_ = "rank " + std::to_string(rank) + " has failed: " + text;
  changed_.notify_all();
}

}  // namespace rma_local
