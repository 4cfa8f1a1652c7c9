#include "nccl/config.h"

#include <cstddef>
#include <cstring>

#include "base/host_access.h"
#include "nccl/arguments.h"
#include "nccl/errors.h"

namespace emu::nccl {

namespace {

// The oldest layout ends after `blocking`.
constexpr size_t kSmallest = offsetof(ncclConfig_t, blocking) + sizeof(int);

// The fields that are numbers, and what they may be.
struct Field {
  const char* name;
  int ncclConfig_t::*value;
  int lowest;
  int highest;
};

constexpr Field kFields[] = {
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

// Copies what the caller knows of the struct over one whose fields are undefined: a program compiled against an older
// version passes a shorter one. False if it cannot be read, or was not set up; `why` tells which.
bool decode(const ncclConfig_t* given, ncclConfig_t* config, const char** why) {
  *config = NCCL_CONFIG_INITIALIZER;
  *why = "cannot be read";
  if (!readable(given, kSmallest)) return false;
  const size_t size = given->size < sizeof *given ? given->size : sizeof *given;
  if (!readable(given, size)) return false;
  *why = "was not set up with NCCL_CONFIG_INITIALIZER";
  if (given->magic != NCCL_API_MAGIC || size < kSmallest) return false;
  memcpy(config, given, size);
  return true;
}

}  // namespace

void readConfig(const ncclConfig_t* given, bool* blocking) {
  if (given == nullptr) return;
  ncclConfig_t config;
  const char* why = nullptr;
  if (!decode(given, &config, &why)) fail(ncclInvalidArgument, "config %s", why);
  for (const Field& field : kFields) {
    const int value = config.*field.value;
    if (value == NCCL_CONFIG_UNDEF_INT) continue;
    if (value < field.lowest || value > field.highest) {
      fail(ncclInvalidArgument, "config.%s is %d, allowed are %d to %d", field.name, value, field.lowest,
           field.highest);
    }
  }
  if (config.minCTAs != NCCL_CONFIG_UNDEF_INT && config.maxCTAs != NCCL_CONFIG_UNDEF_INT && config.minCTAs > config.maxCTAs) {
    fail(ncclInvalidArgument, "config.minCTAs (%d) is above config.maxCTAs (%d)", config.minCTAs, config.maxCTAs);
  }
  if (config.blocking != NCCL_CONFIG_UNDEF_INT) *blocking = config.blocking == 1;
}

}  // namespace emu::nccl

namespace emu {

void describe(Arguments& arguments, const char* name, const ncclConfig_t* given) {
  ncclConfig_t config;
  const char* why = nullptr;
  if (!nccl::decode(given, &config, &why)) {
    arguments.pointer(name, given);  // what is wrong with it is found later
    return;
  }
  arguments.open(name);
  arguments.number("size", static_cast<int64_t>(config.size));
  for (const nccl::Field& field : nccl::kFields) {
    if (config.*field.value != NCCL_CONFIG_UNDEF_INT) arguments.number(field.name, config.*field.value);
  }
  if (config.netName != nullptr) describe(arguments, "netName", config.netName);
  if (config.commName != nullptr) describe(arguments, "commName", config.commName);
  arguments.close();
}

}  // namespace emu
