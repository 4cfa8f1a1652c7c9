package io.nccl4j.benchmarks.test;

import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.GlobalInputs;

/**
 * The inputs of one dispatch and combine.
 *
 * @param sent what the ranks send
 * @param received the same as it arrives
 */
record Round(GlobalInputs sent, GlobalInputs received) {

    Round(CellCase of, EpCase drawn) {
        this(of, of.cell().wire().sent(drawn.inputs(), of.hidden(), drawn.random().split()));
    }

    private Round(CellCase of, GlobalInputs sent) {
        this(sent, of.cell().wire().received(sent, of.roundScales()));
    }

    /** Tokens of a rank, T. */
    int tokens(int rank) {
        return sent.routing().tokens(rank);
    }
}
