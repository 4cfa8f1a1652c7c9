package io.nccl4j.benchmarks.jmh;

import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.DataType;
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
    private static final BufferConfig SMALL = BufferConfig.of(512, DataType.BFLOAT16);
    private static final int FEWER = RankLayer.TOKENS / 2;

    private RankLayer layer;
    private EpHandle handle;
    private CudaStream stream;
    private EpBuffers buffers;
    private LayerCalls calls;
    private CudaGraphExec replay;
    private LayerCalls other;
    private boolean odd;
    private EpHandle[] handles;
    private EpBuffers[] buffersOf;

    @Setup
    public void create() {
        layer = RankLayer.single(config -> config);
        handle = layer.handle();
        stream = layer.stream();
        buffers = layer.buffers();
        calls = layer.calls();
        try (CudaGraph graph = stream.capture(this::async)) {
            replay = graph.instantiate();
        }
        other = LayerCalls.of(layer.own(handle.allocateBuffers(SMALL)));
        handles = new EpHandle[DecodeStepBenchmark.LAYERS];
        buffersOf = new EpBuffers[handles.length];
        for (int i = 0; i < handles.length; i++) {
            handles[i] = layer.own(layer.group().createHandle());
            buffersOf[i] = layer.own(handles[i].allocateBuffers(SMALL));
        }
        // Combine refers to this one: the captured dispatch has not run.
        handle.dispatchAsync(buffers, RankLayer.TOKENS, stream);
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

    /** Two buffers in turn, as of two micro-batches. */
    @Benchmark
    public void dispatchAlternating() {
        odd = !odd;
        (odd ? calls : other).dispatch(handle, stream);
    }

    @Benchmark
    public void combine() {
        calls.combine(handle, stream);
    }

    /** The send half and complete, which without a send half has nothing to do: two native calls. */
    @Benchmark
    public void staged() {
        layer.stagedDispatch();
    }

    /** Update, dispatch and combine on fixed buffers: three native calls. */
    @Benchmark
    public void async() {
        handle.dispatchAsync(buffers, RankLayer.TOKENS, stream);
        handle.combineAsync(buffers, stream);
    }

    /** The same with another number of tokens each time. */
    @Benchmark
    public void asyncVarying() {
        odd = !odd;
        handle.dispatchAsync(buffers, odd ? RankLayer.TOKENS : FEWER, stream);
        handle.combineAsync(buffers, stream);
    }

    /** A step of 58 layers, a handle with its buffers each. */
    @Benchmark
    public void layersFixed() {
        step(RankLayer.TOKENS);
    }

    /** The same with another number of tokens in each step. */
    @Benchmark
    public void layersVarying() {
        odd = !odd;
        step(odd ? RankLayer.TOKENS : FEWER);
    }

    private void step(int tokens) {
        for (int i = 0; i < handles.length; i++) {
            handles[i].dispatchAsync(buffersOf[i], tokens, stream);
            handles[i].combineAsync(buffersOf[i], stream);
        }
    }

    @Benchmark
    public void launch() {
        replay.launch(stream);
    }
}
