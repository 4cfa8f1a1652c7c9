// What the HT operations of a group share on the device.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "ep/ht/regions.h"
#include "ep/ht/staging_order.h"

namespace emu::ep {

struct HtState {
  HtRegions regions{Shape{}, ExpertMode::LocalPermute};

  // Catch operations that nothing orders; an update uses nothing that dispatch and combine use.
  std::atomic<bool> updating{false};
  std::atomic<bool> moving{false};
  std::atomic<bool> silent{false};
  StagingOrder stagingOrder;  // several LSA teams: of dispatch and combine

  // How much of staging was ever written: a captured dispatch copies what lies behind its own rows, too.
  size_t stagedTokenBytes = 0;
  size_t stagedScaleBytes = 0;

  // ---- scratch of the operation that runs: [0] of an update, [1] of a dispatch or combine ----
  struct Scratch {
    std::vector<int32_t> ids;         // distinct experts of each token, ascending
    std::vector<uint32_t> idsFrom;    // [T+1]
    std::vector<float> weights;       // parallel to ids
    std::vector<uint32_t> cursors;
    std::vector<int64_t> slots;
    std::vector<int64_t> totals;
    std::vector<const void*> rows;
    std::vector<size_t> ofTeam;               // how many of `rows` are of ranks of each LSA team
    std::vector<const void*> terms;           // rows, and sums of other teams' rows
    std::vector<unsigned char> partials;      // those sums
    std::vector<unsigned char> marks;
  };
  Scratch scratch[2];
};

}  // namespace emu::ep
