package io.nccl4j.benchmarks.test;

import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.Routing;
import java.util.Arrays;

/**
 * The inputs of one dispatch and combine.
 *
 * @param sent what the ranks send
 * @param received the same as it arrives
 */
record Round(GlobalInputs sent, GlobalInputs received) {

    Round(CellCase of, EpCase drawn) {
        this(of, of.cell.wire().sent(drawn.inputs(), of.rows(), drawn.random().split()));
    }

    private Round(CellCase of, GlobalInputs sent) {
        this(sent, of.cell.wire().received(without(sent, of.masked), of.roundScales));
    }

    /** The routing that is left where nothing comes from a rank, and nothing reaches its experts. */
    private static GlobalInputs without(GlobalInputs sent, int rank) {
        if (rank < 0) {
            return sent;
        }
        EpShape shape = sent.routing().shape();
        int[][][] left = new int[shape.ranks()][][];
        for (int from = 0; from < left.length; from++) {
            boolean silent = from == rank;
            left[from] = Arrays.stream(sent.routing().of(from))
                    .map(token -> Arrays.stream(token)
                            .map(expert -> silent || expert / shape.localExperts() == rank ? -1 : expert).toArray())
                    .toArray(int[][]::new);
        }
        return new GlobalInputs(new Routing(shape, left), sent.tokens(), sent.scales(), sent.weights());
    }

    /** Tokens of a rank, T. */
    int tokens(int rank) {
        return sent.routing().tokens(rank);
    }
}
