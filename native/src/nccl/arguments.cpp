#include "nccl/arguments.h"

#include <cstddef>
#include <cstdio>
#include <cstring>

#include "base/host_access.h"

namespace emu {

namespace {

constexpr const char* kTypes[ncclNumTypes] = {"int8",  "uint8",   "int32",   "uint32",   "int64",      "uint64",
                                              "float16", "float32", "float64", "bfloat16", "float8e4m3", "float8e5m2"};
constexpr const char* kReductions[ncclNumOps] = {"sum", "prod", "max", "min", "avg"};

struct Field {
  const char* name;
  int ncclConfig_t::*value;
};

constexpr Field kFields[] = {
    {"blocking", &ncclConfig_t::blocking},
    {"cgaClusterSize", &ncclConfig_t::cgaClusterSize},
    {"minCTAs", &ncclConfig_t::minCTAs},
    {"maxCTAs", &ncclConfig_t::maxCTAs},
    {"splitShare", &ncclConfig_t::splitShare},
    {"trafficClass", &ncclConfig_t::trafficClass},
    {"collnetEnable", &ncclConfig_t::collnetEnable},
    {"CTAPolicy", &ncclConfig_t::CTAPolicy},
    {"shrinkShare", &ncclConfig_t::shrinkShare},
    {"nvlsCTAs", &ncclConfig_t::nvlsCTAs},
    {"nChannelsPerNetPeer", &ncclConfig_t::nChannelsPerNetPeer},
    {"nvlinkCentricSched", &ncclConfig_t::nvlinkCentricSched},
    {"graphUsageMode", &ncclConfig_t::graphUsageMode},
    {"numRmaCtx", &ncclConfig_t::numRmaCtx},
    {"maxP2pPeers", &ncclConfig_t::maxP2pPeers},
    {"graphStreamOrdering", &ncclConfig_t::graphStreamOrdering},
};

}  // namespace

void describe(Arguments& arguments, const char* name, const ncclUniqueId& id) {
  // Enough to see which calls share an id.
  char digits[2 * 8 + 1];
  for (int i = 0; i < 8; ++i) snprintf(digits + 2 * i, 3, "%02x", static_cast<unsigned char>(id.internal[8 + i]));
  arguments.text(name, digits);
}

void describe(Arguments& arguments, const char* name, const ncclConfig_t* given) {
  // As far as it can be read: what is wrong with it is found later.
  const bool whole = readable(given, offsetof(ncclConfig_t, blocking)) && given->magic == NCCL_API_MAGIC &&
                     readable(given, given->size < sizeof *given ? given->size : sizeof *given);
  if (!whole) {
    arguments.pointer(name, given);
    return;
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  memcpy(&config, given, given->size < sizeof config ? given->size : sizeof config);
  arguments.open(name);
  arguments.number("size", static_cast<int64_t>(config.size));
  for (const Field& field : kFields) {
    if (config.*field.value != NCCL_CONFIG_UNDEF_INT) arguments.number(field.name, config.*field.value);
  }
  if (readable(config.netName, 1)) arguments.text("netName", config.netName);
  if (readable(config.commName, 1)) arguments.text("commName", config.commName);
  arguments.close();
}

void describe(Arguments& arguments, const char* name, ncclDataType_t type) {
  if (static_cast<unsigned int>(type) < ncclNumTypes) {
    arguments.text(name, kTypes[type]);
  } else {
    arguments.number(name, static_cast<int64_t>(type));
  }
}

void describe(Arguments& arguments, const char* name, ncclRedOp_t reduction) {
  if (static_cast<unsigned int>(reduction) < ncclNumOps) {
    arguments.text(name, kReductions[reduction]);
  } else {
    arguments.number(name, static_cast<int64_t>(reduction));
  }
}

}  // namespace emu
