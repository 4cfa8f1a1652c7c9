package io.nccl4j.benchmarks.layer;

/**
 * The bytes that a rank's bandwidth is counted by. Low latency: the (token, expert) pairs that the rank routes, times the bytes of
 * a row. High throughput: the rows that it receives, one per token and rank or per token and expert as the layout has it, times the
 * bytes of a row; combine takes the same rows home. Rows that a rank sends to itself count like others, routing and counters
 * don't count.
 */
public final class Traffic {
    private final DrawnRouting routing;

    public Traffic(DrawnRouting routing) {
        this.routing = routing;
    }

    private long rows(int rank) {
        return routing.shape().isLowLatency() ? routing.selections(rank) : routing.received(rank);
    }

    /** Bytes of a rank's dispatch. */
    public long dispatchBytes(int rank) {
        LayerShape shape = routing.shape();
        return rows(rank) * shape.payload().dispatchBytes(shape.hidden(), shape.type());
    }

    /** Bytes of a rank's combine. */
    public long combineBytes(int rank) {
        LayerShape shape = routing.shape();
        return rows(rank) * shape.payload().combineBytes(shape.hidden(), shape.type());
    }
}
