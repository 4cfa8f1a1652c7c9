package io.nccl4j.ep.graph;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpHandle;

/** The part of a step that {@link GraphCache} runs around its captures. */
public interface CapturePreparation {
    /**
     * Runs on every rank before the capture, outside of it: allocates what this key needs for itself, and makes every
     * call once that loads or compiles code, such as {@link EpHandle#warmUp}. Does nothing by default.
     *
     * @param key the key of the graph
     * @param stream the stream that the work is enqueued on
     */
    default void warmUp(GraphKey key, CudaStream stream) {
    }

    /**
     * The graph of a key is closed, or could not be made: gives back what warmUp has allocated for it. Does nothing by
     * default.
     *
     * @param key the key of the graph
     */
    default void evicted(GraphKey key) {
    }
}
