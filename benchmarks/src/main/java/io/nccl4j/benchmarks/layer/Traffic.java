package io.nccl4j.benchmarks.layer;

import io.nccl4j.oracle.Routing;
import io.nccl4j.testing.LayerKind;
import java.util.stream.IntStream;

/**
 * The bytes that a rank's bandwidth is counted by: messages, one for each token and rank that it has experts on, times
 * the bytes of a row with its scales. Low latency counts those that the rank sends, high throughput those that it
 * receives, whatever the layout; but combine in EXPERT_MAJOR of low latency brings home a row for each expert. What a
 * rank sends to itself counts like the rest, routing and counters don't count.
 */
public record Traffic(LayerShape shape, Routing routing) {

    /** Tokens that {@code source} has for experts on {@code destination}. */
    private long messages(int source, int destination) {
        return routing.sources(source).stream().filter(token -> routing.goesTo(token, destination)).count();
    }

    /** Pairs of a token and an expert that {@code source} sends to {@code destination}. */
    private long selections(int source, int destination) {
        return routing.sources(source).stream().mapToLong(token -> routing.localExperts(token, destination).length)
                .sum();
    }

    private IntStream ranks() {
        return IntStream.range(0, shape.sizes().ranks());
    }

    private long dispatchRows(int rank) {
        boolean sent = shape.kind().isLowLatency();
        return ranks().mapToLong(peer -> sent ? messages(rank, peer) : messages(peer, rank)).sum();
    }

    /** Bytes of a rank's dispatch. */
    public long dispatchBytes(int rank) {
        return dispatchRows(rank) * shape.dispatchBytes();
    }

    /** Bytes of a rank's combine. */
    public long combineBytes(int rank) {
        long rows = shape.kind() == LayerKind.LL_EXPERT_MAJOR
                ? ranks().mapToLong(peer -> selections(rank, peer)).sum()
                : dispatchRows(rank);
        return rows * shape.combineBytes();
    }

    /** Rows that arrive at a rank: one per token, or per token and expert, as the layout has it. */
    public long received(int rank) {
        return ranks()
                .mapToLong(source -> shape.kind().hasRowPerExpert() ? selections(source, rank) : messages(source, rank))
                .sum();
    }

    /** Rows that arrive at all ranks. */
    public long received() {
        return ranks().mapToLong(this::received).sum();
    }
}
