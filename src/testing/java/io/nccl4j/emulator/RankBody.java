package io.nccl4j.emulator;

import org.jspecify.annotations.Nullable;

/**
 * The body of a rank that gives a result.
 *
 * @param <T> type of the result
 */
@FunctionalInterface
public interface RankBody<T extends @Nullable Object> {
    /** Runs on the rank's thread; what it throws makes the cluster fail. */
    T run(EmulatedRank rank) throws Exception;
}
