package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;

/** Properties of a device that matter here, {@code cudaDeviceAttr}. */
public enum DeviceAttribute {
    /** Major part of the compute capability: 9 for Hopper, 10 for Blackwell. */
    COMPUTE_CAPABILITY_MAJOR(CudaRuntime.cudaDevAttrComputeCapabilityMajor()),
    /** Minor part of the compute capability. */
    COMPUTE_CAPABILITY_MINOR(CudaRuntime.cudaDevAttrComputeCapabilityMinor()),
    /** Number of multiprocessors (SMs); the limit of {@code EpGroupConfig.maxSms}. */
    MULTIPROCESSORS(CudaRuntime.cudaDevAttrMultiProcessorCount()),
    /** Shared memory that a block may opt in to, in bytes. */
    MAX_SHARED_MEMORY_PER_BLOCK_BYTES(CudaRuntime.cudaDevAttrMaxSharedMemoryPerBlockOptin()),
    /** Whether the device has stream-ordered allocation, 0 or 1. */
    MEMORY_POOLS_SUPPORTED(CudaRuntime.cudaDevAttrMemoryPoolsSupported());

    private final int code;

    DeviceAttribute(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
