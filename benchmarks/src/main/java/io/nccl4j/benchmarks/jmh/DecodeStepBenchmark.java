package io.nccl4j.benchmarks.jmh;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.LayoutInfo;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** The host's part of one decode step through 58 MoE layers, in the three ways that servers do it. */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@State(Scope.Thread)
public class DecodeStepBenchmark {
    public static final int LAYERS = 58;

    private SingleRank rank;
    private EpBuffers buffers;
    private CudaStream stream;
    private DispatchInputs dispatchInputs;
    private DispatchOutputs dispatchOutputs;
    private LayoutInfo layoutInfo;
    private CombineInputs combineInputs;
    private CombineOutputs combineOutputs;
    private CudaGraph graph;
    private CudaGraphExec replay;

    @Setup
    public void create() {
        rank = new SingleRank();
        buffers = rank.buffers;
        stream = rank.stream;
        dispatchInputs = DispatchInputs.of(buffers.tokens());
        dispatchOutputs = DispatchOutputs.of(buffers.received());
        layoutInfo = LayoutInfo.of(buffers.expertCounts());
        combineInputs = CombineInputs.of(buffers.expertOutputs());
        combineOutputs = CombineOutputs.of(buffers.combined(), buffers.weights());
        graph = stream.capture(this::reusedHandle);
        replay = graph.instantiate();
    }

    @TearDown
    public void close() {
        replay.close();
        graph.close();
        rank.close();
    }

    /** A handle per layer: create, update, dispatch, combine, destroy. */
    @Benchmark
    public void handlePerLayer() {
        for (int layer = 0; layer < LAYERS; layer++) {
            try (EpHandle handle = rank.group.createHandle()) {
                layer(handle);
            }
        }
    }

    /** One handle for all: update, dispatch, combine. */
    @Benchmark
    public void reusedHandle() {
        for (int layer = 0; layer < LAYERS; layer++) {
            layer(rank.handle);
        }
    }

    private void layer(EpHandle handle) {
        handle.update(buffers.routing(), stream);
        handle.dispatch(dispatchInputs, dispatchOutputs, layoutInfo, stream);
        handle.combine(combineInputs, combineOutputs, stream);
    }

    /** All of it as one graph. */
    @Benchmark
    public void graphLaunch() {
        replay.launch(stream);
    }
}
