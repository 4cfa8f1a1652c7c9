package io.nccl4j.benchmarks.layer;

import java.util.stream.IntStream;

/**
 * The bytes that a rank's bandwidth is counted by: messages, one for each token and rank that it has experts on, times the bytes of a row
 * with its scales. Low latency counts those that the rank sends, high throughput those that it receives, whatever the layout; but combine
 * in EXPERT_MAJOR of low latency brings home a row for each expert. What a rank sends to itself counts like the rest, routing
 * and counters don't count.
 */
public final class Traffic {
    private final DrawnRouting routing;

    public Traffic(DrawnRouting routing) {
        this.routing = routing;
    }

    private long dispatchRows(int rank) {
        boolean sent = routing.shape().isLowLatency();
        return IntStream.range(0, routing.shape().ranks())
                .mapToLong(peer -> sent ? routing.messages(rank, peer) : routing.messages(peer, rank)).sum();
    }

    private long combineRows(int rank) {
        return routing.shape().isLowLatency() && routing.shape().rowPerExpert()
                ? routing.selections(rank)
                : dispatchRows(rank);
    }

    /** Bytes of a rank's dispatch. */
    public long dispatchBytes(int rank) {
        LayerShape shape = routing.shape();
        return dispatchRows(rank) * shape.payload().dispatchBytes(shape.hidden(), shape.type());
    }

    /** Bytes of a rank's combine. */
    public long combineBytes(int rank) {
        LayerShape shape = routing.shape();
        return combineRows(rank) * shape.payload().combineBytes(shape.hidden(), shape.type());
    }
}
