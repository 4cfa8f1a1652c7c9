package io.nccl4j.oracle;

import org.jspecify.annotations.Nullable;

/**
 * The inputs of all ranks to one dispatch.
 *
 * @param routing the experts of every token
 * @param tokens {@code [rank][token]}: token rows
 * @param scales {@code [rank][token]}: scale rows that travel with the tokens, or null
 * @param weights {@code [rank][token][k]}: the routing weights, or null where the dispatch takes none
 */
public record GlobalInputs(Routing routing, byte[][][] tokens, byte @Nullable [][][] scales,
        float @Nullable [][][] weights) {

    /** The same inputs where the ranks are in so many teams. */
    public GlobalInputs inTeams(int count) {
        return routing.shape().teams() == count
                ? this
                : new GlobalInputs(routing.inTeams(count), tokens, scales, weights);
    }

    /** A token's row. */
    public byte[] token(Source source) {
        return tokens[source.rank()][source.token()];
    }

    /** A token's scale row, or null if there are none. */
    public byte @Nullable [] scales(Source source) {
        return scales == null ? null : scales[source.rank()][source.token()];
    }

    /** A token's routing weights. */
    public float[] weights(Source source) {
        if (weights == null) {
            throw new IllegalStateException("this dispatch has no weights");
        }
        return weights[source.rank()][source.token()];
    }
}
