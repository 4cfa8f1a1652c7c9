package io.nccl4j.benchmarks.jmh;

import io.nccl4j.NativeLibraries;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpCombineInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpCombineOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpLayoutInfo_t;
import io.nccl4j.bindings.ncclep.ncclEpTensor_t;
import io.nccl4j.internal.HotCalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/**
 * The calls made per step as fast as Java can make them: static final handles that take every pointer as a {@code long}, on structs that
 * nobody touches. The measure for the public API.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@State(Scope.Thread)
public class BareCallBenchmark {
    private long object;
    private long topkIdx;
    private long layoutInfo;
    private long dispatchInputs;
    private long dispatchOutputs;
    private long dispatchConfig;
    private long combineInputs;
    private long combineOutputs;

    @Setup
    public void createStructs() {
        NativeLibraries.load();
        object = Arena.global().allocate(64).address();
        topkIdx = struct(ncclEpTensor_t.layout(), NcclEp.NCCL_EP_TENSOR_MAGIC());
        layoutInfo = struct(ncclEpLayoutInfo_t.layout(), NcclEp.NCCL_EP_MAGIC());
        dispatchInputs = struct(ncclEpDispatchInputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
        dispatchOutputs = struct(ncclEpDispatchOutputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
        dispatchConfig = struct(ncclEpDispatchConfig_t.layout(), NcclEp.NCCL_EP_MAGIC());
        combineInputs = struct(ncclEpCombineInputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
        combineOutputs = struct(ncclEpCombineOutputs_t.layout(), NcclEp.NCCL_EP_MAGIC());
    }

    private static long struct(MemoryLayout layout, int magic) {
        MemorySegment struct = Arena.global().allocate(layout);
        struct.set(ValueLayout.JAVA_INT, 0, (int) layout.byteSize());
        struct.set(ValueLayout.JAVA_INT, 4, magic);
        return struct.address();
    }

    private static int succeed(int status) {
        if (status != 0) {
            throw new AssertionError("status " + status);
        }
        return status;
    }

    @Benchmark
    public int update() {
        return succeed(HotCalls.update(object, topkIdx, 0, object));
    }

    @Benchmark
    public int dispatch() {
        return succeed(HotCalls.dispatch(object, dispatchInputs, dispatchOutputs, layoutInfo, 0, object));
    }

    @Benchmark
    public int combine() {
        return succeed(HotCalls.combine(object, combineInputs, combineOutputs, 0, object));
    }

    @Benchmark
    public int staged() {
        return succeed(HotCalls.dispatch(object, dispatchInputs, dispatchOutputs, layoutInfo, dispatchConfig, object)
                | HotCalls.complete(object, 0, object));
    }

    @Benchmark
    public int async() {
        return succeed(HotCalls.update(object, topkIdx, 0, object)
                | HotCalls.dispatch(object, dispatchInputs, dispatchOutputs, layoutInfo, 0, object)
                | HotCalls.combine(object, combineInputs, combineOutputs, 0, object));
    }

    @Benchmark
    public int launch() {
        return succeed(HotCalls.launch(object, object));
    }
}
