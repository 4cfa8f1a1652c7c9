package io.nccl4j.benchmarks.jmh;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
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

/** The calls made per step through the public API, with all its checks. */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@State(Scope.Thread)
public class ApiCallBenchmark {
    private SingleRank rank;
    private EpHandle handle;
    private CudaStream stream;
    private EpBuffers buffers;
    private EpTensor topkIdx;
    private DispatchInputs dispatchInputs;
    private DispatchOutputs dispatchOutputs;
    private LayoutInfo layoutInfo;
    private CombineInputs combineInputs;
    private CombineOutputs combineOutputs;
    private DispatchConfig sendOnly;
    private CudaGraph graph;
    private CudaGraphExec replay;

    @Setup
    public void create() {
        rank = new SingleRank();
        handle = rank.handle;
        stream = rank.stream;
        buffers = rank.buffers;
        topkIdx = buffers.routing();
        dispatchInputs = DispatchInputs.of(buffers.tokens());
        dispatchOutputs = DispatchOutputs.of(buffers.received());
        layoutInfo = LayoutInfo.of(buffers.expertCounts());
        combineInputs = CombineInputs.of(buffers.expertOutputs());
        combineOutputs = CombineOutputs.of(buffers.combined(), buffers.weights());
        sendOnly = DispatchConfig.defaults().sendOnly();
        graph = stream.capture(() -> {
            handle.dispatchAsync(buffers, SingleRank.TOKENS, stream);
            handle.combineAsync(buffers, stream);
        });
        replay = graph.instantiate();
        // What combine then refers to; what was captured has not run.
        handle.dispatchAsync(buffers, SingleRank.TOKENS, stream);
    }

    @TearDown
    public void close() {
        replay.close();
        graph.close();
        rank.close();
    }

    @Benchmark
    public void update() {
        handle.update(topkIdx, stream);
    }

    @Benchmark
    public void dispatch() {
        handle.dispatch(dispatchInputs, dispatchOutputs, layoutInfo, stream);
    }

    @Benchmark
    public void combine() {
        handle.combine(combineInputs, combineOutputs, stream);
    }

    /** The send half and complete, which without a send half has nothing to do: two native calls. */
    @Benchmark
    public void staged() {
        handle.dispatch(dispatchInputs, dispatchOutputs, layoutInfo, sendOnly, stream);
        handle.complete();
    }

    /** Update, dispatch and combine on fixed buffers: three native calls. */
    @Benchmark
    public void async() {
        handle.dispatchAsync(buffers, SingleRank.TOKENS, stream);
        handle.combineAsync(buffers, stream);
    }

    @Benchmark
    public void launch() {
        replay.launch(stream);
    }
}
