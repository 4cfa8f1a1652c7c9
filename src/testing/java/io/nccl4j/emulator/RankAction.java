package io.nccl4j.emulator;

/** The body of a rank. */
@FunctionalInterface
public interface RankAction {
    /** Runs on the rank's thread; what it throws makes the cluster fail. */
    void run(EmulatedRank rank) throws Exception;
}
