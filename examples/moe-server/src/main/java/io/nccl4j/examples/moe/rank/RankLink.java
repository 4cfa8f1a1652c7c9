package io.nccl4j.examples.moe.rank;

import java.io.IOException;

/** The rank's own side of its connection to the engine. */
interface RankLink {
    /** Waits for the next command. */
    RankCommand next() throws IOException, InterruptedException;

    void answer(RankAnswer answer) throws IOException;
}
