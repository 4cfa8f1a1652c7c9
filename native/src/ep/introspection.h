// Functions that the real library exports for its own tests, under C++ names.
#pragma once

#include "abi/nccl_ep.h"
#include "base/export.h"

// Device address of the HT slot map.
EMU_EXPORT const int32_t* ncclEpHandle_test_getSparseToDenseMap(ncclEpHandle_t handle);
EMU_EXPORT int ncclEpHandle_test_getNumTopk(ncclEpHandle_t handle);
EMU_EXPORT int ncclEpHandle_test_getMaxTokensPerRank(ncclEpHandle_t handle);
EMU_EXPORT int ncclEpHandle_test_getNRanksPerNode(ncclEpHandle_t handle);
EMU_EXPORT int ncclEpHandle_test_getExpertsPerRank(ncclEpHandle_t handle);
// HT: rows that a dispatch fills. Waits for the device.
EMU_EXPORT ncclResult_t ncclEpHandle_test_getNumRecvTokens(ncclEpHandle_t handle, unsigned* count);
EMU_EXPORT void ncclEpHandle_test_clearTopkIdx(ncclEpHandle_t handle);
EMU_EXPORT ncclResult_t ncclEpGroup_test_setMaxDynamicSmem(ncclEpGroup_t group, int bytes);
EMU_EXPORT int ncclEpGroup_test_getLastLlCombineWarpsPerGroup(ncclEpGroup_t group);
