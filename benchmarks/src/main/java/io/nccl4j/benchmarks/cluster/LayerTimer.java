package io.nccl4j.benchmarks.cluster;

import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.ReduceOp;

/**
 * Times a rank's dispatch and combine with CUDA events around them. Before each iteration all ranks meet in an
 * all-reduce of one float in the same stream, so that no time contains the wait for a rank that was late to begin.
 */
final class LayerTimer implements AutoCloseable {
    private final RankLayer layer;
    private final CudaEvent start;
    private final CudaEvent middle;
    private final CudaEvent end;
    private final DeviceMemory meeting;

    LayerTimer(RankLayer layer) {
        this.layer = layer;
        CudaDevice device = layer.stream().device();
        start = CudaEvent.createTiming(device);
        middle = CudaEvent.createTiming(device);
        end = CudaEvent.createTiming(device);
        meeting = DeviceMemory.allocate(device, Float.BYTES);
    }

    /**
     * Measures; collective.
     *
     * @param warmUp iterations before those that count
     */
    Samples measure(CallMode mode, int warmUp, int iterations) {
        layer.update();
        return switch (mode) {
            case EAGER -> calls(layer::dispatch, layer::combine, warmUp, iterations);
            case STAGED -> calls(layer::stagedDispatch, layer::stagedCombine, warmUp, iterations);
            case GRAPH -> graphs(warmUp, iterations);
        };
    }

    private Samples calls(Runnable dispatch, Runnable combine, int warmUp, int iterations) {
        Samples samples = new Samples(iterations);
        for (int i = -warmUp; i < iterations; i++) {
            meet();
            start.record(layer.stream());
            dispatch.run();
            middle.record(layer.stream());
            combine.run();
            end.record(layer.stream());
            layer.synchronize();
            if (i >= 0) {
                samples.put(Operation.DISPATCH, i, middle.elapsedMillisSince(start));
                samples.put(Operation.COMBINE, i, end.elapsedMillisSince(middle));
                samples.put(Operation.BOTH, i, end.elapsedMillisSince(start));
            }
        }
        return samples;
    }

    private Samples graphs(int warmUp, int iterations) {
        // What a first call loads must not be loaded in a capture.
        layer.dispatch();
        layer.combine();
        layer.synchronize();
        Samples samples = new Samples(iterations);
        try (CudaGraphExec both = captured(() -> {
            layer.dispatch();
            layer.combine();
        })) {
            time(both, Operation.BOTH, samples, warmUp, iterations);
        }
        try (CudaGraphExec dispatch = captured(layer::dispatch)) {
            time(dispatch, Operation.DISPATCH, samples, warmUp, iterations);
        }
        try (CudaGraphExec combine = captured(layer::combine)) {
            time(combine, Operation.COMBINE, samples, warmUp, iterations);
        }
        return samples;
    }

    private CudaGraphExec captured(Runnable calls) {
        try (CudaGraph graph = layer.stream().capture(calls)) {
            return graph.instantiate();
        }
    }

    private void time(CudaGraphExec graph, Operation operation, Samples samples, int warmUp, int iterations) {
        for (int i = -warmUp; i < iterations; i++) {
            meet();
            start.record(layer.stream());
            graph.launch(layer.stream());
            end.record(layer.stream());
            layer.synchronize();
            if (i >= 0) {
                samples.put(operation, i, end.elapsedMillisSince(start));
            }
        }
    }

    private void meet() {
        layer.communicator().collectives().allReduce(meeting, meeting, 1, DataType.FLOAT32, ReduceOp.SUM,
                layer.stream());
    }

    @Override
    public void close() {
        meeting.close();
        end.close();
        middle.close();
        start.close();
    }
}
