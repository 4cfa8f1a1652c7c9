// ncclEpGroup: what the ranks of a communicator share for expert parallelism.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "cuda/work.h"
#include "ep/exchange.h"
#include "ep/ht/state.h"
#include "ep/ll/state.h"
#include "ep/registry.h"
#include "ep/sizing.h"
#include "ep/tensor.h"
#include "nccl/topology.h"

namespace emu::ep {

// The caller's memory callbacks, or cudaMalloc and cudaFree.
class Allocator {
 public:
  Allocator() = default;
  explicit Allocator(const ncclEpAllocConfig_t& callbacks) : callbacks_(callbacks) {}
  cudaError_t allocate(size_t bytes, void** out) const;
  cudaError_t release(void* pointer) const;

 private:
  ncclEpAllocConfig_t callbacks_{};
};

struct Group {
  ncclComm_t comm = nullptr;
  std::shared_ptr<Team> team;
  uint64_t number = 0;          // of the group, the same on all ranks
  int device = 0;
  int rank = 0;
  int ranks = 1;
  Topology topology;

  bool lowLatency = true;
  Shape shape;
  bool eager = false;           // HT without a receive budget: callers size outputs by the counts
  bool drop = false;            // overflow is dropped, not trapped
  bool zeroCopyOn = false;
  unsigned topkLimit = 0;       // 0 = none
  bool masks = false;
  uint64_t timeoutNs = 0;       // of LL waits
  ExpertMode mode = ExpertMode::LocalPermute;
  unsigned queuePairs = 0;      // per rank, as given; 0 = automatic
  unsigned multiprocessors = 1; // that communication kernels use
  size_t rdmaBytes = 0;         // explicit LL buffer size, 0 = automatic

  Allocator allocator;
  void* workspace = nullptr;
  void* counterBlock = nullptr; // HT
  void* routingMap = nullptr;   // HT
  // What the real library registers as windows; here it only takes its place on the device.
  void* windowMemory = nullptr;

  Exchange exchange;
  LlState ll;
  HtState ht;

  std::atomic<int> sharedMemoryLimit{232448};
  std::atomic<int> lastCombineWarps{0};
  std::atomic<bool> destroyed{false};

  static constexpr unsigned kMostWarpGroups = 14;
  // LL kernels: warp groups per block, each serving one expert.
  unsigned warpGroups() const { return static_cast<unsigned>((shape.experts + multiprocessors - 1) / multiprocessors); }
  unsigned warpsPerGroup() const { return 32 / warpGroups(); }

  void freeMemory(std::string* failed);  // through the allocator; names what it could not free
};

using GroupRegistry = Registry<Group, ncclEpGroup_t>;
GroupRegistry& groups();

// Gives the group window memory of this size in place of what it has. Without enough of it the real library ends the
// process.
void provideWindowMemory(Call& call, Group& group, size_t bytes);

// Notes a collective operation that the call makes on the group's communicator; refused if the ranks make different ones.
void noteOrder(Call& call, const Group& group, const char* operation);

// The live group behind a token that is not NULL; anything else is undefined behaviour.
std::shared_ptr<Group> findGroup(Call& call, ncclEpGroup_t token);

}  // namespace emu::ep
