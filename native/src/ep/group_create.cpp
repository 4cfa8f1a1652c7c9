#include "ep/group.h"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "base/object_counts.h"
#include "base/options.h"
#include "cuda/device.h"
#include "cuda/memory.h"
#include "ep/entry.h"
#include "ep/environment.h"
#include "ep/release.h"
#include "ep/structs.h"
#include "nccl/communicator.h"

namespace emu::ep {

namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;
constexpr size_t kCounterBytes = 32;
constexpr size_t kMostMapped = size_t{1} << 45;  // of address space for one rank's exchange
constexpr unsigned kHtMultiprocessors = 16;
constexpr int kMostTeams = 33;  // that HT kernels are made for


// What all ranks must agree on for their buffers to have the same shape.
constexpr const char* kAgreed[] = {
    "the option api",  "algorithm",                "num_experts", "max_dispatch_tokens_per_rank",
    "max_token_bytes", "the HT expert-major mode", "zero_copy",   "rdma_buffer_size"};
using Agreement = std::array<uint64_t, std::size(kAgreed)>;

std::string nccl(int version) {
  return "NCCL " + std::to_string(version / 10000) + "." + std::to_string(version % 10000 / 100) + "." +
         std::to_string(version % 100);
}

// Release 0.2.0, before anything else: the NCCL that runs is not older than the one that it was built with. A newer one
// is right for builds with 2.31 or later, for those with 2.30.5 and later if they are told so, and for no others.
void checkNccl(Call& call) {
  constexpr int kForward = 23100, kForwardIfTold = 23005, running = NCCL_VERSION_CODE;
  const int built = options::builtNccl();
  if (running == built || (running > built && built >= kForward)) return;
  const bool toldHelps = running > built && built >= kForwardIfTold;
  if (toldHelps && environment::flag("NCCL_DEV_API_JIT")) return;
  call.invalidUsage("NCCL EP was built with %s and %s runs, which are incompatible: load %s%s",
                    nccl(built).c_str(), nccl(running).c_str(), nccl(built).c_str(),
                    running < built ? " or newer"
                    : toldHelps     ? ", or set NCCL_DEV_API_JIT=1"
                                    : "");
}

class Creation {
 public:
  Creation(Call& call, ncclEpGroup_t* out, ncclComm* comm, const ncclEpGroupConfig_t& config,
           const GroupConfig020& more)
      : call_(call), out_(out), comm_(*comm), config_(config), more_(more), made_(std::make_shared<Group>()),
        group_(*made_) {
    group_.comm = comm;
    group_.team = comm_.team;
    group_.device = comm_.device;
    group_.rank = comm_.rank();
    group_.ranks = comm_.size();
    group_.topology = comm_.topology;
  }

  void run() {
    checkBasics();
    // From here on the caller is left with a pointer, whatever comes.
    *out_ = reinterpret_cast<ncclEpGroup_t>(TokenSource::next());
    resolveResources();
    resolveBudget();
    resolveMode();
    agree();
    if (const auto refusal = refusalOf([&] { allocate(); })) {
      std::string ignored;
      group_.freeMemory(&ignored);
      throw *refusal;
    }
    announce();
    objects::groups.add(group_.device, 1);
    *out_ = groups().add(made_);
  }

 private:
  // What the real library prints about its settings.
  void announce() const {
    if (group_.rank != 0 || !environment::flag("NCCL_EP_ENV_VERBOSE")) return;
    if (config_.version > NCCL_EP_API_VERSION) {
      std::fprintf(stderr, "nccl4j emulator: group configuration of version %u, this is API %d\n", config_.version,
                   NCCL_EP_API_VERSION);
    }
    std::fprintf(
        stderr,
        "nccl4j emulator: %s group of %d ranks, %zu experts, %u multiprocessors, budget %zu rows, timeout %llu ms\n",
        group_.lowLatency ? "LL" : "HT", group_.ranks, group_.shape.experts, group_.multiprocessors,
        group_.shape.maxReceive,
        static_cast<unsigned long long>(group_.timeoutNs / 1'000'000));
  }

  void checkBasics() {
    if (config_.algorithm != NCCL_EP_ALGO_LOW_LATENCY && config_.algorithm != NCCL_EP_ALGO_HIGH_THROUGHPUT) {
      call_.aborts("algorithm %u is neither LL nor HT", config_.algorithm);
    }
    if (config_.num_experts == 0) call_.aborts("num_experts is 0");
    if (config_.max_token_bytes == 0) call_.aborts("max_token_bytes is 0");
    group_.lowLatency = config_.algorithm == NCCL_EP_ALGO_LOW_LATENCY;
    if (!group_.lowLatency && config_.max_token_bytes % 16 != 0) {
      call_.invalidArgument("max_token_bytes %u is no multiple of 16", config_.max_token_bytes);
    }
    if (config_.max_dispatch_tokens_per_rank == 0) call_.aborts("max_dispatch_tokens_per_rank is 0");
    group_.shape.ranks = static_cast<size_t>(group_.ranks);
    group_.shape.team = static_cast<size_t>(group_.topology.teamSize);
    group_.queuePairs = config_.num_qp_per_rank;
    group_.shape.experts = config_.num_experts;
    group_.shape.maxDispatch = config_.max_dispatch_tokens_per_rank;
    group_.shape.maxTokenBytes = config_.max_token_bytes;
  }

  void resolveResources() {
    if ((config_.alloc.alloc_fn == nullptr) != (config_.alloc.free_fn == nullptr)) {
      call_.invalidUsage("alloc_fn and free_fn must both be given, or neither");
    }
    group_.allocator = Allocator(config_.alloc);
    if (device::setCurrent(group_.device) != cudaSuccess) call_.throws("cannot make device %d current", group_.device);
    const auto present = static_cast<unsigned>(options::multiprocessors());
    for (const auto& [name, given] : {std::pair{"max_num_sms", config_.max_num_sms},
                                      {"dispatch_num_sms", more_.dispatchMultiprocessors},
                                      {"combine_num_sms", more_.combineMultiprocessors}}) {
      if (given > present) call_.invalidUsage("%s %u, but the device has %u", name, given, present);
    }
    group_.multiprocessors = config_.max_num_sms;
    if (group_.multiprocessors == 0) {
      group_.multiprocessors = group_.lowLatency ? present : std::min(kHtMultiprocessors, present);
    }
    if (release020()) {
      // Every kernel must be launched with what its own budget leaves it.
      const auto budget = [&](const char* variable, unsigned given) {
        return environment::multiprocessors(variable, given != 0 ? given : group_.multiprocessors, present);
      };
      dispatchMultiprocessors_ = budget("NCCL_EP_DISPATCH_SMS", more_.dispatchMultiprocessors);
      group_.multiprocessors =
          std::min(dispatchMultiprocessors_, budget("NCCL_EP_COMBINE_SMS", more_.combineMultiprocessors));
    } else {
      group_.multiprocessors = environment::multiprocessors("NCCL_EP_COMM_SMS", group_.multiprocessors, present);
      dispatchMultiprocessors_ = group_.multiprocessors;
    }
    // These tune what has no counterpart here; a value that makes no sense is reported all the same.
    (void)environment::multiprocessors("NCCL_EP_SHUFFLE_SMS", present, present);
    (void)environment::multiprocessors("NCCL_EP_PREPROCESS_NUM_SMS", present, present);
    (void)environment::flag("NCCL_EP_DISABLE_GUARD");
    if (group_.lowLatency && group_.warpGroups() > Group::kMostWarpGroups) {
      call_.invalidUsage("%u experts on %u multiprocessors need %u warp groups, more than %u",
                         config_.num_experts, group_.multiprocessors, group_.warpGroups(), Group::kMostWarpGroups);
    }
  }

  void resolveBudget() {
    const size_t everything = product(group_.shape.ranks, group_.shape.maxDispatch);
    group_.shape.maxReceive = config_.max_recv_tokens_per_rank;
    group_.topkLimit = config_.num_topk;
    group_.drop = config_.overflow_policy == NCCL_EP_OVERFLOW_DROP;
    group_.zeroCopyOn = config_.zero_copy == NCCL_EP_ZERO_COPY_ON;
    group_.masks = config_.enable_mask != 0;
    group_.timeoutNs = environment::timeoutNs(config_.timeout_ns);
    group_.rdmaBytes = config_.rdma_buffer_size;

    // The first collective comes before the checks that follow: a rank that fails them leaves the others waiting.
    if (!comm_.blocking) call_.exits("the communicator is non-blocking");
    noteOrder(call_, group_, "ncclEpCreateGroup");
    meet();

    if (!group_.lowLatency && config_.max_recv_tokens_per_rank != 0 &&
        config_.max_recv_tokens_per_rank < config_.max_dispatch_tokens_per_rank) {
      call_.throws("max_recv_tokens_per_rank %u is below max_dispatch_tokens_per_rank %u",
                   config_.max_recv_tokens_per_rank, config_.max_dispatch_tokens_per_rank);
    }
    if (config_.num_topk > config_.num_experts) {
      call_.throws("num_topk %u is above num_experts %u", config_.num_topk, config_.num_experts);
    }
    if (config_.max_recv_tokens_per_rank == 0) {
      if (group_.lowLatency) {
        group_.shape.maxReceive = everything;
      } else {
        group_.eager = true;
        if (group_.drop) call_.throws("eager mode cannot drop overflowing tokens");
        group_.shape.maxReceive = product(everything, std::max(1u, config_.num_topk));
        if (group_.shape.maxReceive > UINT32_MAX) call_.throws("the bound of received rows exceeds 32 bits");
      }
    }
  }

  void resolveMode() {
    nvlinkDup_ = environment::flag("NCCL_EP_HT_EM_NVLINK_DUP");
    localDup_ = environment::flag("NCCL_EP_HT_EM_LOCAL_DUP");
    if (nvlinkDup_ || (!localDup_ && group_.zeroCopyOn && group_.topology.teams() > 1)) {
      group_.mode = ExpertMode::NvlinkDup;
    } else if (localDup_ || group_.zeroCopyOn) {
      group_.mode = ExpertMode::LocalDup;
    }
  }

  struct Facts {
    Agreement agreement;
    uint64_t budget;
    uint64_t number;
  };

  // Exchanges what the ranks must agree on: the facts of every rank.
  std::vector<Facts> meet() {
    static std::atomic<uint64_t> made{0};
    const auto version = static_cast<uint64_t>(options::epVersion());
    const Facts mine{{version, config_.algorithm, config_.num_experts, config_.max_dispatch_tokens_per_rank,
                      config_.max_token_bytes, static_cast<uint64_t>(group_.mode), group_.zeroCopyOn ? 1u : 0u,
                      group_.rdmaBytes},
                     group_.shape.maxReceive,
                     made.fetch_add(1) + 1};
    std::vector<Facts> all(group_.shape.ranks);
    if (group_.team->allGather(&mine, all.data(), sizeof mine, waitLimit()) != TeamResult::Ok) {
      call_.exits("the ranks did not meet: %s", group_.team->explain().c_str());
    }
    return all;
  }

  void agree() {
    const std::vector<Facts> all = meet();
    const Agreement& mine = all[static_cast<size_t>(group_.rank)].agreement;
    group_.number = all[0].number;
    for (size_t r = 0; r < all.size(); ++r) {
      // The real library does not notice, and reads and writes past its buffers later.
      for (size_t i = 0; i < mine.size(); ++i) {
        if (mine[i] == all[r].agreement[i]) continue;
        call_.undefined("ranks %d and %zu disagree on %s", group_.rank, r, kAgreed[i]);
      }
    }
    for (size_t r = 0; r < all.size(); ++r) {
      if (all[r].budget == all[0].budget) continue;
      call_.throws("ranks 0 and %zu disagree on max_recv_tokens_per_rank: %" PRIu64 " and %" PRIu64, r, all[0].budget,
                   all[r].budget);
    }
    if (nvlinkDup_ && localDup_) call_.invalidUsage("both HT expert-major modes are asked for");
  }

  void allocate() {
    if (device::sticky(group_.device) != cudaSuccess) {
      call_.throws("the device has failed: %s", device::stickyText(group_.device).c_str());
    }
    obtain("workspace", kWorkspaceBytes, &group_.workspace);
    connectTeams();
    size_t payload = 0;
    if (group_.lowLatency) {
      provideWindowMemory(call_, group_, group_.rdmaBytes);
      group_.ll.bufferBytes = group_.rdmaBytes;
      group_.ll.sendBuffers = SendBufferLayout(group_.shape);
      payload = product(2, group_.ll.sendBuffers.bytes);
      if (group_.masks) {
        group_.ll.mask.reset(new std::atomic<int>[group_.shape.ranks]);
        for (size_t r = 0; r < group_.shape.ranks; ++r) group_.ll.mask[r] = 1;
      }
    } else {
      const size_t mapRow = htMapRowBytes(group_.shape);
      const size_t tokens = product(group_.shape.ranks, group_.shape.maxDispatch);
      const size_t mapBytes = product(tokens, std::max<size_t>(1, mapRow));
      obtain("counter block", kCounterBytes, &group_.counterBlock);
      obtain("routing map", mapBytes, &group_.routingMap);
      const size_t bytes = htGroupBytes(group_.shape, group_.mode, group_.zeroCopyOn);
      provideWindowMemory(call_, group_, bytes);
      group_.ht.regions = HtRegions(group_.shape, group_.mode);
      payload = group_.ht.regions.bytes;
    }
    if (payload > kMostMapped) call_.exits("the group's buffers take more memory than there is");
    if (group_.exchange.open(group_.team, payload, waitLimit()) != TeamResult::Ok) {
      call_.exits("the ranks could not share their buffers: %s", group_.team->explain().c_str());
    }
  }

  // What several teams need of the network, which one does not.
  void connectTeams() {
    const Topology& topology = group_.topology;
    if (topology.teams() == 1) return;
    if (group_.lowLatency) {
      if (topology.gin != NCCL_GIN_TYPE_NONE) return;
      call_.invalidUsage("%d LSA teams need GIN between all ranks, there is none", topology.teams());
    }
    // The real library ends the process where it cannot set up HT.
    const unsigned least = 1 + 2 * dispatchMultiprocessors_;
    if (group_.queuePairs != 0 && group_.queuePairs < least) {
      call_.exits("num_qp_per_rank %u, HT over %d LSA teams on %u multiprocessors needs %u", group_.queuePairs,
                  topology.teams(), dispatchMultiprocessors_, least);
    }
    if (topology.railedGin == NCCL_GIN_TYPE_NONE) {
      call_.exits("%d LSA teams need GIN between them, there is none", topology.teams());
    }
    if (topology.teams() > kMostTeams) call_.aborts("%d LSA teams, HT takes %d", topology.teams(), kMostTeams);
    uint64_t chunk = 0;
    if (environment::number("NCCL_EP_TOKENS_PER_CHUNK", &chunk) && chunk > 0) {
      group_.shape.chunk = (std::min<uint64_t>(chunk, INT32_MAX) + 31) / 32 * 32;
    }
  }

  void obtain(const char* what, size_t bytes, void** out) {
    const cudaError_t error = group_.allocator.allocate(bytes, out);
    std::string why;
    if (error != cudaSuccess) {
      call_.throws("%s of %zu bytes: allocation failed with %d", what, bytes, static_cast<int>(error));
    }
    if (!memory::accessible(*out, bytes, group_.device, &why)) {
      call_.throws("%s of %zu bytes: alloc_fn gave no device memory: %s", what, bytes, why.c_str());
    }
  }

  Call& call_;
  ncclEpGroup_t* out_;
  ncclComm& comm_;
  const ncclEpGroupConfig_t& config_;
  const GroupConfig020 more_;
  const std::shared_ptr<Group> made_;
  Group& group_;
  unsigned dispatchMultiprocessors_ = 1;
  bool nvlinkDup_ = false;
  bool localDup_ = false;
};

void createGroup(Call& call, ncclEpGroup_t* out, ncclComm_t comm, const ncclEpGroupConfig_t* given) {
  if (out == nullptr) call.aborts("ep_group is NULL");
  if (comm == nullptr) call.aborts("comm is NULL");
  ncclComm* const live = communicator(comm);
  if (live == nullptr) call.aborts("comm is not a live communicator");
  call.setRank(live->rank());
  const auto config = decodeStruct(call, "config", given, true);
  if (!writable(out, sizeof *out)) call.undefined("ep_group cannot be written");
  if (release020()) checkNccl(call);
  GroupConfig020 more{};
  if (release020() && given->size >= sizeof config + sizeof more) {
    if (!readable(given, sizeof config + sizeof more)) call.undefined("config cannot be read");
    std::memcpy(&more, given + 1, sizeof more);
  }
  Creation(call, out, live, config, more).run();
}

}  // namespace

EMU_EP(ncclEpCreateGroup, (ncclEpGroup_t* ep_group, ncclComm_t comm, const ncclEpGroupConfig_t* config),
       (ep_group, comm, config), createGroup(call, ep_group, comm, config))

}  // namespace emu::ep
