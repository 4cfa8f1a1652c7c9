/*
 * The part of CUDA's driver interface that the emulator exports: virtual memory, as memory pools of programs use it. Usable
 * from C and C++.
 */
#ifndef NCCL4J_ABI_CUDA_DRIVER_H
#define NCCL4J_ABI_CUDA_DRIVER_H

#include <stddef.h>

#ifdef __cplusplus
#define NCCL4J_DRIVER_ENUM(name) enum name : unsigned int
extern "C" {
#else
#define NCCL4J_DRIVER_ENUM(name) enum name
#endif
#pragma GCC visibility push(default)

typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;

typedef NCCL4J_DRIVER_ENUM(CUresult_enum) {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_INVALID_DEVICE = 101
} CUresult;

typedef NCCL4J_DRIVER_ENUM(CUmemLocationType_enum) { CU_MEM_LOCATION_TYPE_DEVICE = 1 } CUmemLocationType;
typedef NCCL4J_DRIVER_ENUM(CUmemAllocationType_enum) { CU_MEM_ALLOCATION_TYPE_PINNED = 1 } CUmemAllocationType;
typedef NCCL4J_DRIVER_ENUM(CUmemAllocationHandleType_enum) { CU_MEM_HANDLE_TYPE_NONE = 0 } CUmemAllocationHandleType;
typedef NCCL4J_DRIVER_ENUM(CUmemAllocationGranularity_flags_enum) {
  CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0,
  CU_MEM_ALLOC_GRANULARITY_RECOMMENDED = 1
} CUmemAllocationGranularity_flags;
typedef NCCL4J_DRIVER_ENUM(CUmemAccess_flags_enum) {
  CU_MEM_ACCESS_FLAGS_PROT_NONE = 0,
  CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3
} CUmemAccess_flags;

typedef struct CUmemLocation_st {
  CUmemLocationType type;
  int id;
} CUmemLocation;

typedef struct CUmemAllocationProp_st {
  CUmemAllocationType type;
  CUmemAllocationHandleType requestedHandleTypes;
  CUmemLocation location;
  void* win32HandleMetaData;
  unsigned char allocFlags[8];
} CUmemAllocationProp;

typedef struct CUmemAccessDesc_st {
  CUmemLocation location;
  CUmemAccess_flags flags;
} CUmemAccessDesc;

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option);
CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size, const CUmemAllocationProp* prop,
                     unsigned long long flags);
CUresult cuMemRelease(CUmemGenericAllocationHandle handle);
CUresult cuMemAddressReserve(CUdeviceptr* ptr, size_t size, size_t alignment, CUdeviceptr addr, unsigned long long flags);
CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size);
CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags);
CUresult cuMemUnmap(CUdeviceptr ptr, size_t size);
CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc* desc, size_t count);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
