package io.nccl4j.emulator;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.nccl.Bootstrap;

/**
 * One rank of an {@link EmulatedCluster}: a thread with a device of its own.
 *
 * @param rank its number, from 0
 * @param size number of ranks
 * @param device its device, current on its thread
 * @param bootstrap how it finds the other ranks; closed by the cluster
 */
public record EmulatedRank(int rank, int size, CudaDevice device, Bootstrap bootstrap) {
    @Override
    public String toString() {
        return "rank " + rank + " of " + size;
    }
}
