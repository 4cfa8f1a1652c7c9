package io.nccl4j.ep.graph;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PiecewiseGraph;
import java.util.function.Consumer;

/**
 * The result of the capture of a cached step: one graph, or several with eager segments between.
 *
 * @param launch enqueues the step
 * @param close waits for launches in flight and gives back what was captured
 */
record CachedReplay(Consumer<CudaStream> launch, Runnable close) {
    /** Captures a step for a key, or nothing is left. */
    interface Maker {
        CachedReplay capture(GraphKey key, CudaStream stream);
    }

    static CachedReplay whole(GraphStep step, GraphKey key, CudaStream stream) {
        CudaGraphExec exec;
        try (CudaGraph graph = stream.capture(() -> step.enqueue(key, stream))) {
            exec = graph.instantiate();
        }
        boolean done = false;
        try {
            exec.upload(stream);
            done = true;
            return new CachedReplay(exec::launch, exec::close);
        } finally {
            if (!done) {
                exec.close();
            }
        }
    }

    static CachedReplay inPieces(PiecewiseStep step, GraphKey key, CudaStream stream) {
        PiecewiseGraph.Builder segments = PiecewiseGraph.on(stream);
        step.addSegments(key, segments);
        PiecewiseGraph graph = segments.build();
        return new CachedReplay(graph::replay, graph::close);
    }
}
