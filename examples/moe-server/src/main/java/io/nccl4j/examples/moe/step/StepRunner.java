package io.nccl4j.examples.moe.step;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PiecewiseGraph;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.TreeMap;

/**
 * Enqueues steps in one of the modes, with a graph for each of several numbers of rows: a batch takes the smallest that
 * holds it. Graphs are captured when it is made, so that serving never captures.
 */
final class StepRunner implements AutoCloseable {
    /** Enqueues a step. */
    private interface Replay {
        void enqueue(CudaStream stream);
    }

    private final CudaStream stream;
    private final TreeMap<Integer, Replay> replays = new TreeMap<>();
    private final Deque<AutoCloseable> owned = new ArrayDeque<>();

    StepRunner(DecodeStep step, StepMode mode, int maxRows, CudaStream stream) {
        this.stream = stream;
        boolean done = false;
        try {
            for (int rows = 1; rows < maxRows; rows *= 2) {
                replays.put(rows, replay(step, mode, rows));
            }
            replays.put(maxRows, replay(step, mode, maxRows));
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    private Replay replay(DecodeStep step, StepMode mode, int rows) {
        DecodeStep.Exchange exchange = step.exchange(rows);
        return switch (mode) {
            case HANDLE_PER_LAYER -> {
                HandlePerLayer handles = step.handlePerLayer(rows);
                owned.push(handles);
                yield on -> step.enqueue(rows, handles, on);
            }
            case EAGER -> on -> step.enqueue(rows, exchange, on);
            case PIECEWISE -> {
                PiecewiseGraph graph = pieces(step, exchange, rows);
                owned.push(graph);
                yield graph::replay;
            }
            case GRAPH -> {
                try (CudaGraph graph = stream.capture(() -> step.enqueue(rows, exchange, stream))) {
                    CudaGraphExec exec = graph.instantiate();
                    owned.push(exec);
                    yield exec::launch;
                }
            }
        };
    }

    private PiecewiseGraph pieces(DecodeStep step, DecodeStep.Exchange exchange, int rows) {
        PiecewiseGraph.Builder pieces = PiecewiseGraph.on(stream);
        int last = step.layers() - 1;
        for (int i = 0; i <= last; i++) {
            int layer = i;
            pieces.captured("attention " + layer, on -> {
                if (layer == 0) {
                    step.begin(rows, on);
                }
                step.attention(layer, rows, on);
            }).eager("dispatch " + layer, exchange::dispatch)
                    .captured("experts " + layer, on -> step.experts(layer, on))
                    .eager("combine " + layer, exchange::combine);
        }
        return pieces.captured("head", on -> step.end(rows, on)).build();
    }

    /** Enqueues a step for at least so many rows. */
    void enqueue(int rows) {
        replays.ceilingEntry(Math.max(rows, 1)).getValue().enqueue(stream);
    }

    @Override
    public void close() {
        while (!owned.isEmpty()) {
            try {
                owned.pop().close();
            } catch (RuntimeException e) {
                throw e;
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }
    }
}
