package io.nccl4j.examples.moe.rank;

import java.time.Duration;

/** The engine's side of a rank, in this process or in another. Used by one thread. */
public interface Rank {
    int number();

    /** Hands a command over; does not wait. */
    void send(RankCommand command) throws RankLostException;

    /** Waits for the answer to a step. */
    RankAnswer await(Duration limit) throws RankLostException;

    /** Ends it by force, if that can be done, and gives up what is left. */
    void kill();

    /** Waits until it has ended by itself after {@link RankCommand.Stop}; false if it has not within the limit. */
    boolean join(Duration limit);
}
