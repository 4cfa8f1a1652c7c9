package io.nccl4j.ep.graph;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PiecewiseGraph;

/** A graph of a {@link GraphCache}, until it is evicted. */
public final class CachedGraph {
    private final GraphCache cache;
    private final GraphKey key;
    private final PiecewiseGraph replay;
    private boolean evicted;
    private long bytes;
    private long lastLaunch;

    CachedGraph(GraphCache cache, GraphKey key, PiecewiseGraph replay, long bytes) {
        this.cache = cache;
        this.key = key;
        this.replay = replay;
        this.bytes = bytes;
    }

    /**
     * {@return the key it was captured for} Routing rows beyond the present batch, up to its {@code tokens}, must be
     * -1.
     */
    public GraphKey key() {
        return key;
    }

    /**
     * Enqueues the step. One native call if it was captured as a whole; allocates nothing but what eager segments do.
     *
     * @param stream the stream that the work is enqueued on
     * @throws IllegalStateException if it was evicted, or what it points to has moved
     */
    public void launch(CudaStream stream) {
        if (evicted) {
            throw new IllegalStateException(this + " is closed");
        }
        replay.replay(stream);
        lastLaunch = cache.tick();
    }

    /** {@return device memory that its warm-up and capture took: the most of all ranks} */
    public long bytes() {
        return bytes;
    }

    void bytes(long agreed) {
        bytes = agreed;
    }

    long lastLaunch() {
        return lastLaunch;
    }

    void close() {
        evicted = true;
        replay.close();
    }

    @Override
    public String toString() {
        return "CachedGraph(" + key + ")" + (evicted ? " (evicted)" : "");
    }
}
