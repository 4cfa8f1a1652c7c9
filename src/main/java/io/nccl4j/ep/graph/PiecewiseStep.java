package io.nccl4j.ep.graph;

import io.nccl4j.cuda.PiecewiseGraph;

/** A step of a server as {@link GraphCache} captures it in pieces, with eager segments between. */
@FunctionalInterface
public interface PiecewiseStep extends CapturePreparation {
    /**
     * Adds the segments of the step for a key, in the order in which they run; the captured ones are captured once per
     * key.
     *
     * @param key the key of the graph
     * @param segments takes the segments
     */
    void addSegments(GraphKey key, PiecewiseGraph.Builder segments);
}
