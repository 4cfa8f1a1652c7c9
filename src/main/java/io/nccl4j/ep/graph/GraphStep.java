package io.nccl4j.ep.graph;

import io.nccl4j.cuda.CudaStream;

/** A step of a server as {@link GraphCache} captures it, as a whole. */
@FunctionalInterface
public interface GraphStep extends CapturePreparation {
    /**
     * Enqueues the step for a key; runs once per key, under capture.
     *
     * @param key the key of the graph
     * @param stream the stream that the work is enqueued on
     */
    void enqueue(GraphKey key, CudaStream stream);
}
