package io.nccl4j.benchmarks.ranks;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.nccl.Bootstrap;

/**
 * One rank.
 *
 * @param number from 0
 * @param size number of ranks
 * @param device its device, current on its thread
 * @param bootstrap how it finds the others
 */
public record Rank(int number, int size, CudaDevice device, Bootstrap bootstrap) {
    /** Whether several ranks are on one real device. */
    public boolean sharesDevice() {
        return NativeLibraries.backend() == Backend.NATIVE && size > CudaDevice.count();
    }

    /**
     * Makes a call whose kernels wait for those of other ranks. Ranks that share a device make it one after the other:
     * its first use loads the kernels, for all of them, and to load waits for kernels that run.
     */
    public void inTurn(Runnable call) {
        if (sharesDevice()) {
            synchronized (device) {
                call.run();
            }
        } else {
            call.run();
        }
    }

    /**
     * The work of a rank, with its result.
     *
     * @param <T> type of the result
     */
    @FunctionalInterface
    public interface Body<T> {
        T run(Rank rank) throws Exception;
    }
}
