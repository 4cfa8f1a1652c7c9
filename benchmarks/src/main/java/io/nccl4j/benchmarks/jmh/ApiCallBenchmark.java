package io.nccl4j.benchmarks.jmh;

import io.nccl4j.benchmarks.layer.SingleLayer;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.testing.LayerCalls;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** The calls made per step through the public API, with all its checks. */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@State(Scope.Thread)
public class ApiCallBenchmark {
    private SingleLayer layer;
    private EpHandle handle;
    private CudaStream stream;
    private EpBuffers buffers;
    private LayerCalls calls;
    private CudaGraphExec replay;

    @Setup
    public void create() {
        layer = new SingleLayer();
        handle = layer.handle();
        stream = layer.stream();
        buffers = layer.buffers();
        calls = layer.calls();
        try (CudaGraph graph = stream.capture(this::async)) {
            replay = graph.instantiate();
        }
        // What combine then refers to; what was captured has not run.
        handle.dispatchAsync(buffers, SingleLayer.TOKENS, stream);
    }

    @TearDown
    public void close() {
        replay.close();
        layer.close();
    }

    @Benchmark
    public void update() {
        calls.update(handle, stream);
    }

    @Benchmark
    public void dispatch() {
        calls.dispatch(handle, stream);
    }

    @Benchmark
    public void combine() {
        calls.combine(handle, stream);
    }

    /** The send half and complete, which without a send half has nothing to do: two native calls. */
    @Benchmark
    public void staged() {
        calls.stagedDispatch(handle, stream);
    }

    /** Update, dispatch and combine on fixed buffers: three native calls. */
    @Benchmark
    public void async() {
        handle.dispatchAsync(buffers, SingleLayer.TOKENS, stream);
        handle.combineAsync(buffers, stream);
    }

    @Benchmark
    public void launch() {
        replay.launch(stream);
    }
}
