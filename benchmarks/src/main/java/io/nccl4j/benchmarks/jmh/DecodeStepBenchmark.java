package io.nccl4j.benchmarks.jmh;

import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.ep.EpHandle;
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

    private RankLayer single;
    private CudaGraphExec replay;

    @Setup
    public void create() {
        single = RankLayer.single(config -> config);
        try (CudaGraph graph = single.stream().capture(this::reusedHandle)) {
            replay = graph.instantiate();
        }
    }

    @TearDown
    public void close() {
        replay.close();
        single.close();
    }

    /** A handle per layer: create, update, dispatch, combine, destroy. */
    @Benchmark
    public void handlePerLayer() {
        for (int layer = 0; layer < LAYERS; layer++) {
            try (EpHandle handle = single.group().createHandle()) {
                layer(handle);
            }
        }
    }

    /** One handle for all: update, dispatch, combine. */
    @Benchmark
    public void reusedHandle() {
        for (int layer = 0; layer < LAYERS; layer++) {
            layer(single.handle());
        }
    }

    private void layer(EpHandle handle) {
        single.calls().update(handle, single.stream());
        single.calls().dispatch(handle, single.stream());
        single.calls().combine(handle, single.stream());
    }

    /** All of it as one graph. */
    @Benchmark
    public void graphLaunch() {
        replay.launch(single.stream());
    }
}
