package io.nccl4j.benchmarks.jmh;

import io.nccl4j.bindings.ncclep.NcclEp;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/** The bare dispatch call over JNI, for comparison. */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@State(Scope.Thread)
public class JniCallBenchmark {
    private BareStructs structs;

    @Setup
    public void link() {
        structs = new BareStructs();
        if (!JniCalls.link(NcclEp.ncclEpDispatch$address().address())) {
            throw new AssertionError("no dispatch function");
        }
    }

    @Benchmark
    public int dispatch() {
        BareStructs s = structs;
        return BareStructs
                .succeed(JniCalls.dispatch(s.object, s.dispatchInputs, s.dispatchOutputs, s.layoutInfo, 0, s.object));
    }
}
