package io.nccl4j.benchmarks.ranks;

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
