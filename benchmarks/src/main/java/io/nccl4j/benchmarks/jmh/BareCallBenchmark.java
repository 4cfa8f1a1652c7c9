package io.nccl4j.benchmarks.jmh;

import io.nccl4j.internal.HotCalls;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/**
 * The calls made per step as fast as Java can make them: static final handles that take every pointer as a {@code
 * long}, on structs that nobody touches. The measure for the public API.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@State(Scope.Thread)
public class BareCallBenchmark {
    private BareStructs structs;

    @Setup
    public void createStructs() {
        structs = new BareStructs();
    }

    @Benchmark
    public int update() {
        BareStructs s = structs;
        return BareStructs.succeed(HotCalls.update(s.object, s.topkIdx, 0, s.object));
    }

    @Benchmark
    public int dispatch() {
        BareStructs s = structs;
        return BareStructs
                .succeed(HotCalls.dispatch(s.object, s.dispatchInputs, s.dispatchOutputs, s.layoutInfo, 0, s.object));
    }

    @Benchmark
    public int combine() {
        BareStructs s = structs;
        return BareStructs.succeed(HotCalls.combine(s.object, s.combineInputs, s.combineOutputs, 0, s.object));
    }

    @Benchmark
    public int staged() {
        BareStructs s = structs;
        return BareStructs.succeed(HotCalls.dispatch(s.object, s.dispatchInputs, s.dispatchOutputs, s.layoutInfo,
                s.dispatchConfig, s.object) | HotCalls.complete(s.object, 0, s.object));
    }

    @Benchmark
    public int async() {
        return update() | dispatch() | combine();
    }

    @Benchmark
    public int dispatchAlternating() {
        return dispatch();
    }

    @Benchmark
    public int asyncVarying() {
        return async();
    }

    @Benchmark
    public int layersFixed() {
        int status = 0;
        for (int i = 0; i < DecodeStepBenchmark.LAYERS; i++) {
            status |= async();
        }
        return status;
    }

    @Benchmark
    public int layersVarying() {
        return layersFixed();
    }

    @Benchmark
    public int launch() {
        BareStructs s = structs;
        return BareStructs.succeed(HotCalls.launchGraph(s.object, s.object));
    }
}
