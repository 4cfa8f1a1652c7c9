package io.nccl4j.ep;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PiecewiseGraph;

/** What the capture of a cached step has given: one graph, or several with eager segments between. */
interface CachedReplay {
    /** Captures a step for a key, or nothing is left. */
    interface Maker {
        CachedReplay capture(GraphKey key, CudaStream stream);
    }

    void launch(CudaStream stream);

    void close();

    static CachedReplay whole(GraphStep step, GraphKey key, CudaStream stream) {
        CudaGraphExec exec;
        try (CudaGraph graph = stream.capture(() -> step.enqueue(key, stream))) {
            exec = graph.instantiate();
        }
        boolean done = false;
        try {
            exec.upload(stream);
            done = true;
        } finally {
            if (!done) {
                exec.close();
            }
        }
        return new CachedReplay() {
            @Override
            public void launch(CudaStream on) {
                exec.launch(on);
            }

            @Override
            public void close() {
                exec.close();
            }
        };
    }

    static CachedReplay inPieces(PiecewiseStep step, GraphKey key, CudaStream stream) {
        PiecewiseGraph.Builder segments = PiecewiseGraph.on(stream);
        step.addSegments(key, segments);
        PiecewiseGraph graph = segments.build();
        return new CachedReplay() {
            @Override
            public void launch(CudaStream on) {
                graph.replay(on);
            }

            @Override
            public void close() {
                graph.close();
            }
        };
    }
}
