package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.NativeCallException;
import io.nccl4j.NativeObject;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorCall;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.RankMask;
import io.nccl4j.internal.Ownership;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/**
 * Whatever native call fails while something is made: nothing is half made, nothing native is left, and the next
 * attempt works.
 */
class CreateFailureTest {
    /**
     * The probe of the library's generation asks for an error; how often a stream is asked whether it is idle depends
     * on time; the last error is asked for to forget it.
     */
    private static final Set<String> HARMLESS = Set.of("ncclEpTensorDestroy", "cudaStreamQuery", "cudaGetLastError");

    @EachLayerKind
    @EmulatedRanks(value = 1, allowMisuse = true, allowLeaks = true)
    void noNativeFailureLeavesAnythingBehind(LayerKind shape, EmulatedCluster cluster) {
        long leaks = Ownership.leaks();
        long misuses = Emulator.misuses().size();
        MoeRank.run(cluster, shape, shape.draw(1, 11), (world, layer) -> {
            layer.handle().warmUp(layer.buffers(), 1, world.stream());
            for (Made made : Made.values()) {
                failEveryCall(made, world, layer);
                failEveryAllocation(made, world, layer);
            }
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 12));
        });
        assertThat(Ownership.leaks()).isEqualTo(leaks);
        // What the library allocates itself: out of memory there is the end of a process that has not looked before.
        assertThat(Emulator.misuses().stream().skip(misuses)).isNotEmpty()
                .allSatisfy(misuse -> assertThat(misuse.text()).containsAnyOf("allocation failed", " free"));
    }

    /** Made with the first use, of four parts. */
    @Test
    @EmulatedRanks(1)
    void whatAMaskNeedsIsMadeWholeOrNotAtAll(EmulatedCluster cluster) {
        LayerKind shape = LayerKind.LL_EXPERT_MAJOR;
        MoeRank.run(cluster, shape, shape.draw(1, 13), EpGroupConfig::mask, (world, unused) -> {
            EmulatorUsage before = Emulator.usage();
            Map<String, Integer> calls = Map.of("cudaMalloc", 1, "cudaMallocHost", 2, "cudaEventCreateWithFlags", 1);
            calls.forEach((function, count) -> {
                for (int nth = 0; nth < count; nth++) {
                    Emulator.presetResult(function, code(function), nth, 1);
                    assertThrown(NativeCallException.class,
                            catchThrowable(() -> world.group().maskQuery(world.stream())), function);
                    Emulator.clearPresets();
                    assertThat(Emulator.usage().leakedSince(before)).as("call %d of %s", nth, function).isEmpty();
                }
            });
            assertThat(world.group().maskQuery(world.stream())).isEqualTo(RankMask.all(1));
        });
    }

    private static void failEveryCall(Made made, MoeRank world, MoeLayer layer) throws Exception {
        Map<String, Integer> calls = callsOf(made, world, layer);
        assertThat(calls).as("native calls of %s", made).isNotEmpty();
        Set<String> ignored = new TreeSet<>();
        for (Map.Entry<String, Integer> call : calls.entrySet()) {
            for (int nth = 0; nth < call.getValue(); nth++) {
                String where = made + " with the failure of call " + nth + " of " + call.getKey();
                EmulatorUsage before = Emulator.usage();
                Emulator.presetResult(call.getKey(), code(call.getKey()), nth, 1);
                AutoCloseable result = null;
                Throwable thrown = null;
                try {
                    result = made.make(world, layer);
                } catch (Throwable e) {
                    thrown = e;
                }
                Emulator.clearPresets();
                if (result != null) {
                    ignored.add(call.getKey());
                    result.close();
                } else {
                    assertThat(thrown).as(where).isInstanceOf(NativeCallException.class);
                    assertThat(((NativeCallException) thrown).function()).as(where).startsWith(call.getKey());
                }
                if (!isInClose(thrown)) {
                    assertThat(Emulator.usage().leakedSince(before)).as(where).isEmpty();
                }
                assertThat(world.communicator().isUsable()).as(where).isTrue();
                assertThat(world.stream().isCapturing()).as(where).isFalse();
                made.make(world, layer).close();
            }
        }
        assertThat(HARMLESS).as("failures without an effect on %s", made).containsAll(ignored);
    }

    /** Whether the call that failed was to give something back, which then stays. */
    private static boolean isInClose(@Nullable Throwable thrown) {
        return thrown != null && Arrays.stream(thrown.getStackTrace())
                .anyMatch(frame -> frame.getClassName().equals(NativeObject.class.getName())
                        && frame.getMethodName().equals("close"));
    }

    private static Map<String, Integer> callsOf(Made made, MoeRank world, MoeLayer layer) throws Exception {
        Emulator.logCalls(1 << 15);
        AutoCloseable result = made.make(world, layer);
        List<EmulatorCall> calls = Emulator.calls();
        Emulator.logCalls(0);
        result.close();
        Map<String, Integer> counts = new LinkedHashMap<>();
        calls.forEach(call -> counts.merge(call.function(), 1, Integer::sum));
        return counts;
    }

    private static int code(String function) {
        return function.startsWith("cuda") ? CudaRuntime.cudaErrorMemoryAllocation() : Nccl.ncclSystemError();
    }

    /** The allocations that the libraries make themselves. */
    private static void failEveryAllocation(Made made, MoeRank world, MoeLayer layer) throws Exception {
        List<String> survived = new ArrayList<>();
        for (int nth = 1; survived.isEmpty(); nth++) {
            EmulatorUsage before = Emulator.usage();
            Emulator.inject(new Fault.FailAllocation(Fault.ANY, nth));
            AutoCloseable[] result = new AutoCloseable[1];
            Throwable thrown = catchThrowable(() -> result[0] = made.make(world, layer));
            Emulator.clearFaults();
            if (result[0] != null) {
                survived.add("without allocation " + nth);
                result[0].close();
                // Memory in stream order is given back in stream order.
                world.device().synchronize();
            } else {
                assertThat(thrown).as("%s without allocation %d", made, nth).isInstanceOf(NativeCallException.class);
            }
            assertThat(Emulator.usage().leakedSince(before)).as("%s without allocation %d", made, nth).isEmpty();
            assertThat(nth).isLessThan(100);
        }
    }
}
