package io.nccl4j.oracle;

/** The gradients of the routing weights that the experts' ranks hand to a backward combine. */
@FunctionalInterface
public interface WeightGradients {

    /** The gradient for the weight of {@code expert} (its global number) of a token. */
    float of(int expert, Source source);

    /** The place where a token's row for an expert lies; negative if it was dropped. */
    @FunctionalInterface
    interface Slots {
        long of(Source source, int expert);
    }

    /** For every token of a rank and top-k entry the gradient given for it, 0 for none. */
    default float[][] combined(Routing routing, int rank, Slots slots) {
        float[][] combined = new float[routing.tokens(rank)][routing.shape().topK()];
        for (Source source : routing.sources(rank)) {
            for (int k = 0; k < routing.shape().topK(); k++) {
                int expert = routing.expert(source, k);
                if (expert >= 0 && slots.of(source, expert) >= 0) {
                    combined[source.token()][k] = of(expert, source);
                }
            }
        }
        return combined;
    }
}
