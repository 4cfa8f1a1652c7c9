package io.nccl4j.ep;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceAttribute;

/**
 * The facts about a device that the rules need.
 *
 * @param sms multiprocessors
 * @param computeCapability times ten
 * @param sharedMemoryBytes that a block may have
 */
record DeviceLimits(int sms, int computeCapability, int sharedMemoryBytes) {

    /** For sizes, which do not depend on the device. */
    static final DeviceLimits ANY = new DeviceLimits(Integer.MAX_VALUE, 100, Integer.MAX_VALUE);

    static DeviceLimits of(CudaDevice device) {
        return new DeviceLimits(device.attribute(DeviceAttribute.MULTIPROCESSORS),
                10 * device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MAJOR)
                        + device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MINOR),
                device.attribute(DeviceAttribute.MAX_SHARED_MEMORY_PER_BLOCK_BYTES));
    }

    /** Whether there are 4-bit floats. */
    boolean hasFp4() {
        return computeCapability == 100 || computeCapability == 103 || computeCapability == 110
                || computeCapability == 120 || computeCapability == 121;
    }
}
