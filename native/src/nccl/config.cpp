#include "nccl/config.h"

#include <cstddef>
#include <cstring>

#include "base/host_access.h"
#include "nccl/errors.h"

namespace emu::nccl {

namespace {

// The oldest layout ends after `blocking`.
constexpr size_t kSmallest = offsetof(ncclConfig_t, blocking) + sizeof(int);

struct Range {
  const char* name;
  int ncclConfig_t::*field;
  int lowest;
  int highest;
};

constexpr Range kRanges[] = {
    {"blocking", &ncclConfig_t::blocking, 0, 1},
    {"cgaClusterSize", &ncclConfig_t::cgaClusterSize, 0, 8},
    {"minCTAs", &ncclConfig_t::minCTAs, 1, INT_MAX},
    {"maxCTAs", &ncclConfig_t::maxCTAs, 1, INT_MAX},
    {"splitShare", &ncclConfig_t::splitShare, 0, 1},
    {"trafficClass", &ncclConfig_t::trafficClass, 0, INT_MAX},
    {"collnetEnable", &ncclConfig_t::collnetEnable, 0, 1},
    {"CTAPolicy", &ncclConfig_t::CTAPolicy, NCCL_CTA_POLICY_DEFAULT, NCCL_CTA_POLICY_EFFICIENCY | NCCL_CTA_POLICY_ZERO},
    {"shrinkShare", &ncclConfig_t::shrinkShare, 0, 1},
    {"nvlsCTAs", &ncclConfig_t::nvlsCTAs, 1, INT_MAX},
    {"nChannelsPerNetPeer", &ncclConfig_t::nChannelsPerNetPeer, 1, INT_MAX},
    {"nvlinkCentricSched", &ncclConfig_t::nvlinkCentricSched, 0, 1},
    {"graphUsageMode", &ncclConfig_t::graphUsageMode, 0, 2},
    {"numRmaCtx", &ncclConfig_t::numRmaCtx, 1, INT_MAX},
    {"maxP2pPeers", &ncclConfig_t::maxP2pPeers, 1, INT_MAX},
    {"graphStreamOrdering", &ncclConfig_t::graphStreamOrdering, 0, 1},
};

}  // namespace

ncclResult_t readConfig(const ncclConfig_t* given, const Config& inherited, Config* out) {
  *out = inherited;
  if (given == nullptr) return ncclSuccess;
  if (!readable(given, kSmallest) || !readable(given, given->size < sizeof *given ? given->size : sizeof *given)) {
    return fail(ncclInvalidArgument, "config cannot be read");
  }
  if (given->magic != NCCL_API_MAGIC || given->size < kSmallest) {
    return fail(ncclInvalidArgument, "config was not set up with NCCL_CONFIG_INITIALIZER (size %zu, magic 0x%x)", given->size,
                given->magic);
  }
  // A caller compiled against an older version passes a shorter struct; what it lacks is undefined.
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  memcpy(&config, given, given->size < sizeof config ? given->size : sizeof config);
  for (const Range& range : kRanges) {
    const int value = config.*range.field;
    if (value == NCCL_CONFIG_UNDEF_INT) continue;
    if (value < range.lowest || value > range.highest) {
      return fail(ncclInvalidArgument, "config.%s is %d, allowed are %d to %d", range.name, value, range.lowest,
                  range.highest);
    }
  }
  if (config.minCTAs != NCCL_CONFIG_UNDEF_INT && config.maxCTAs != NCCL_CONFIG_UNDEF_INT && config.minCTAs > config.maxCTAs) {
    return fail(ncclInvalidArgument, "config.minCTAs (%d) is above config.maxCTAs (%d)", config.minCTAs, config.maxCTAs);
  }
  if (config.blocking != NCCL_CONFIG_UNDEF_INT) out->blocking = config.blocking == 1;
  return ncclSuccess;
}

}  // namespace emu::nccl
