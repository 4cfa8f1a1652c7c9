#include "nccl/rendezvous.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/never_destroyed.h"
#include "base/options.h"
#include "nccl/peer_watch.h"
#include "nccl/shared_memory.h"

namespace emu::rendezvous {

namespace {

using arena::Control;
using arena::Gathering;
using arena::Presence;
using nccl::fail;
using nccl::Failure;
using Nonce = std::array<unsigned char, arena::kNonceBytes>;

// What the 128 bytes hold.
struct IdContent {
  uint64_t magic;
  unsigned char nonce[arena::kNonceBytes];
  MemoryAddress address;
};
static_assert(sizeof(IdContent) <= NCCL_UNIQUE_ID_BYTES);

struct Publication {
  File file;
  std::shared_ptr<Segment> head;  // the control block, to see whether it is still of use
  uint64_t number = 0;            // rises with every id
};

// The arenas that this process made and keeps open for ranks still to come.
struct Publications {
  std::mutex mutex;
  std::map<Nonce, Publication> open;
  uint64_t last = 0;
};

// Nobody says that an id will not be used. Each holds a file descriptor, of which a process often has no more than
// 1024.
constexpr size_t kMostUnused = 512;

Publications& publications() { return neverDestroyed<Publications>(); }

Nonce nonceOf(const unsigned char* bytes) {
  Nonce nonce;
  memcpy(nonce.data(), bytes, nonce.size());
  return nonce;
}

Gathering gathering(const Control& control) { return control.gathering.load(std::memory_order_acquire); }

// Ids whose ranks have met, or failed to, in other processes.
void sweep(Publications& known) {
  for (auto it = known.open.begin(); it != known.open.end();) {
    const bool over = gathering(arena::control(it->second.head->data())) != Gathering::Open;
    it = over ? known.open.erase(it) : std::next(it);
  }
}

bool isUnused(Control& control) {
  return std::all_of(std::begin(control.ranks), std::end(control.ranks), [](const arena::RankState& state) {
    return state.presence.load(std::memory_order_acquire) == Presence::Absent;
  });
}

// Makes room for a further id in the place of the oldest one to which nobody has come.
void makeRoom(Publications& known) {
  if (known.open.size() < kMostUnused) return;
  auto oldest = known.open.end();
  for (auto it = known.open.begin(); it != known.open.end(); ++it) {
    const bool older = oldest == known.open.end() || it->second.number < oldest->second.number;
    if (older && isUnused(arena::control(it->second.head->data()))) oldest = it;
  }
  if (oldest != known.open.end()) known.open.erase(oldest);
}

// An id that a rank has come with: when the ranks have met or failed to, it is used up.
class Use {
 public:
  explicit Use(const IdContent& content) : nonce_(nonceOf(content.nonce)) {}
  ~Use() {
    Publications& known = publications();
    std::lock_guard<std::mutex> lock(known.mutex);
    known.open.erase(nonce_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  const Nonce nonce_;
};

std::shared_ptr<Segment> mapArena(const IdContent& content, size_t bytes, std::string* why) {
  if (content.address.owner == self()) {
    Publications& known = publications();
    std::lock_guard<std::mutex> lock(known.mutex);
    const auto it = known.open.find(nonceOf(content.nonce));
    if (it != known.open.end()) return SharedMemory::map(it->second.file, bytes, why);
    fail(ncclInvalidUsage,
         "the unique id is used up: its ranks have met, an earlier init with it failed, or %zu newer ones were made "
         "before it was used",
         kMostUnused);
  }
  if (!exists(content.address.owner)) {
    fail(ncclRemoteError, "process %d, which made the unique id, has ended", content.address.owner.pid);
  }
  MemoryAddress address = content.address;
  address.bytes = bytes;
  return SharedMemory::map(address, why);
}

std::shared_ptr<Segment> openArena(const IdContent& content, size_t bytes) {
  std::string why;
  std::shared_ptr<Segment> memory = mapArena(content, bytes, &why);
  if (memory == nullptr) {
    fail(ncclSystemError,
         "the unique id leads nowhere (%s): its ranks have met, an earlier init with it failed, or its process is out "
         "of reach",
         why.c_str());
  }
  const Control& control = arena::control(memory->data());
  if (control.magic != arena::kMagic || memcmp(control.nonce, content.nonce, arena::kNonceBytes) != 0) {
    fail(ncclInvalidArgument, "the unique id does not match the memory that it leads to");
  }
  return memory;
}

// One rank's way into the arena.
class Arrival {
 public:
  Arrival(Control& control, int size, int rank) : control_(control), size_(size), rank_(rank) {}

  // Ends the gathering for everyone, unless all are there already.
  Failure refuse(ncclResult_t code, const std::string& text) {
    arena::recordFailure(control_.refusal, rank_, code, text.c_str());
    close(Gathering::Failed);
    return {code, text};
  }

  void enter(int device) {
    if (gathering(control_) == Gathering::Complete) {
      fail(ncclInvalidUsage, "the unique id is used up: all its ranks are there");
    }
    int32_t size = 0;
    if (!control_.size.compare_exchange_strong(size, size_, std::memory_order_acq_rel) && size != size_) {
      throw refuse(ncclInvalidUsage, "rank " + std::to_string(rank_) + " says " + std::to_string(size_) +
                                         " ranks where another said " + std::to_string(size));
    }
    arena::RankState& state = control_.ranks[rank_];
    Presence absent = Presence::Absent;
    if (!state.presence.compare_exchange_strong(absent, Presence::Coming, std::memory_order_acq_rel)) {
      throw refuse(ncclInvalidUsage, "rank " + std::to_string(rank_) + " came twice");
    }
    state.device = options::machineDevice(device);
    state.host = options::hostOf(state.device);
    state.process = self();
    state.presence.store(Presence::Present, std::memory_order_release);
    if (control_.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) close(Gathering::Complete);
  }

  void meet(const std::function<bool()>& cancelled) {
    const auto missing = [&](int rank) {
      return control_.ranks[rank].presence.load(std::memory_order_acquire) < Presence::Present;
    };
    // Also a rank that has come already is waited for: without it the others cannot begin.
    const auto any = [](int) { return true; };
    PeerWatch watch(control_, size_, rank_);
    std::string why;
    const uint64_t start = now();
    const WaitEnd end = waitUntil(
        control_.changed, [&] { return gathering(control_) != Gathering::Open; }, waitLimit(), [&] {
          if (!cancelled || !cancelled()) return watch.gone(any, &why);
          why = "rank " + std::to_string(rank_) + " gave up";
          return true;
        });
    if (end == WaitEnd::Timeout) {
      refuse(ncclTimeout, "waited " + std::to_string((now() - start) / 1'000'000) + " ms for " +
                              listRanks(size_, missing) + " of " + std::to_string(size_));
    } else if (end == WaitEnd::Broken && waitsBroken()) {
      refuse(ncclSystemError, "the waits of rank " + std::to_string(rank_) + "'s process were broken (" +
                                  brokenReason() + ") while it waited for " + listRanks(size_, missing));
    } else if (end == WaitEnd::Broken) {
      refuse(ncclRemoteError, why);
    }
    if (gathering(control_) == Gathering::Complete) return;
    const arena::RecordedFailure refusal = arena::readFailure(control_.refusal);
    throw Failure{refusal.code, refusal.text};
  }

  // All ranks see the same devices and come to the same answer.
  void checkDevices() const {
    if (options::sharedDevices()) return;
    std::vector<int> devices;
    for (int a = 0; a < size_; ++a) {
      const arena::RankState& state = control_.ranks[a];
      state.presence.load(std::memory_order_acquire);  // makes the rest of the state visible
      const auto same = std::find(devices.begin(), devices.end(), state.device);
      if (same != devices.end()) {
        fail(ncclInvalidUsage, "ranks %d and %d are both on device %d", static_cast<int>(same - devices.begin()), a,
             state.device);
      }
      devices.push_back(state.device);
    }
  }

 private:
  // The gathering is over, unless it was already.
  void close(Gathering how) {
    Gathering open = Gathering::Open;
    control_.gathering.compare_exchange_strong(open, how, std::memory_order_acq_rel);
    control_.changed.notifyAll();
  }

  Control& control_;
  const int size_;
  const int rank_;
};

}  // namespace

void publish(ncclUniqueId* id) {
  std::string why;
  Publication publication;
  const size_t bytes = arena::bytesFor(arena::kMaxRanks);
  publication.file = SharedMemory::create(bytes, &why);
  if (publication.file) publication.head = SharedMemory::map(publication.file, arena::kControlBytes, &why);
  if (publication.head == nullptr) throw Failure{ncclSystemError, why};

  Control& control = arena::control(publication.head->data());
  control.magic = arena::kMagic;
  if (getentropy(control.nonce, sizeof control.nonce) != 0) fail(ncclSystemError, "getentropy: %s", strerror(errno));

  IdContent content{};
  content.magic = arena::kMagic;
  memcpy(content.nonce, control.nonce, sizeof content.nonce);
  content.address = SharedMemory::addressOf(publication.file, bytes);
  memset(id, 0, sizeof *id);
  memcpy(id->internal, &content, sizeof content);

  Publications& known = publications();
  std::lock_guard<std::mutex> lock(known.mutex);
  sweep(known);
  makeRoom(known);
  publication.number = ++known.last;
  known.open.emplace(nonceOf(content.nonce), std::move(publication));
}

std::shared_ptr<Team> join(const ncclUniqueId& id, int size, int rank, int device,
                                 const std::function<bool()>& cancelled) {
  IdContent content;
  memcpy(&content, id.internal, sizeof content);
  if (content.magic != arena::kMagic) fail(ncclInvalidArgument, "the unique id was not made by ncclGetUniqueId");
  const std::shared_ptr<Segment> memory = openArena(content, arena::bytesFor(size));
  const Use use(content);
  Arrival arrival(arena::control(memory->data()), size, rank);
  arrival.enter(device);
  // From here on the place is this rank's, and is left when the team ends.
  auto team = std::make_shared<Team>(memory, rank, size);
  arrival.meet(cancelled);
  arrival.checkDevices();
  return team;
}

}  // namespace emu::rendezvous
