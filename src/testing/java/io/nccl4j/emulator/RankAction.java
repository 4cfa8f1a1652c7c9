package io.nccl4j.emulator;

/** What a rank does. */
@FunctionalInterface
public interface RankAction {
    /** Runs on the rank's thread; what it throws makes the cluster fail. */
    void run(EmulatedRank rank) throws Exception;
}
