package io.nccl4j.benchmarks.demo;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.function.IntConsumer;

/** A step as graphs that hold different numbers of tokens, all on the same handle and buffers. */
final class StepGraphs implements AutoCloseable {
    private final CudaStream stream;
    private final NavigableMap<Integer, CudaGraphExec> graphs = new TreeMap<>();

    private StepGraphs(CudaStream stream) {
        this.stream = stream;
    }

    /** @param enqueue makes the calls of a step, given how many tokens it has room for */
    static StepGraphs capture(CudaStream stream, IntConsumer enqueue, int... tokens) {
        StepGraphs all = new StepGraphs(stream);
        boolean done = false;
        try {
            for (int count : tokens) {
                if (!all.graphs.containsKey(count)) {
                    try (CudaGraph graph = stream.capture(() -> enqueue.accept(count))) {
                        all.graphs.put(count, graph.instantiate());
                    }
                }
            }
            done = true;
            return all;
        } finally {
            if (!done) {
                all.close();
            }
        }
    }

    /** Replays the smallest graph that holds a batch; what it holds beyond goes nowhere. */
    void launch(int batch) {
        Map.Entry<Integer, CudaGraphExec> fitting = graphs.ceilingEntry(batch);
        if (fitting == null) {
            throw new IllegalArgumentException(batch + " tokens: the largest graph holds " + graphs.lastKey());
        }
        fitting.getValue().launch(stream);
    }

    @Override
    public void close() {
        graphs.values().forEach(CudaGraphExec::close);
    }
}
