package io.nccl4j.oracle;

/** The gradients of the routing weights that the experts' ranks hand to a backward combine. */
@FunctionalInterface
public interface WeightGradients {

    /** The gradient for the weight of {@code expert} (its global number) of a token. */
    float of(int expert, Source source);
}
