package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.checks.Condition;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorMisuse;
import io.nccl4j.junit.EmulatedRanks;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A device fault that nobody has noticed yet, before a call of high throughput. */
@Timeout(60)
class CheckedModeTest {
    @Test
    @EmulatedRanks(value = 1, allowLeaks = true)
    void aCheckedGroupNoticesTheFaultBeforeTheCall(EmulatedCluster cluster) {
        RuleBench.run(cluster, RuleBench.highThroughput(Layout.FLAT).checked(), (bench, calls) -> {
            loseDevice(bench);
            long before = Emulator.callCount("ncclEpUpdateHandle");
            assertFailure(CudaException.class, () -> calls.handle.update(calls.routing, bench.stream),
                    "cudaErrorIllegalAddress");
            // And so the library was not misused, which the extension checks.
            assertThat(Emulator.callCount("ncclEpUpdateHandle")).isEqualTo(before);
        });
    }

    @Test
    @EmulatedRanks(value = 1, allowLeaks = true, allowMisuse = true)
    void withoutThatTheLibraryMeetsIt(EmulatedCluster cluster) {
        long before = lastMisuse();
        RuleBench.run(cluster, RuleBench.highThroughput(Layout.FLAT), (bench, calls) -> {
            loseDevice(bench);
            assertFailure(RuntimeException.class, () -> calls.handle.update(calls.routing, bench.stream));
        });
        assertThat(lastMisuse()).as("something would have ended the process").isGreaterThan(before);
    }

    private static long lastMisuse() {
        return Emulator.misuses().stream().mapToLong(EmulatorMisuse::sequence).max().orElse(0);
    }

    /** Lets a graph write to memory whose owner has broken its promise to keep it; nobody waits for the outcome. */
    private static void loseDevice(RuleBench bench) {
        EmulatedRank rank = bench.rank;
        DeviceMemory behind = DeviceMemory.allocate(rank.device(), 256);
        DeviceMemory wrapped = bench.own(DeviceMemory.wrap(behind.address(), 256, rank.device()));
        CudaStream side = bench.own(CudaStream.create(rank.device()));
        CudaGraph graph = bench.own(side.capture(() -> wrapped.fillAsync((byte) 1, side)));
        CudaGraphExec exec = bench.own(graph.instantiate());
        behind.close();
        exec.launch(side);
        Condition.await("the device fails", () -> !Emulator.errorText(rank.device()).isEmpty());
        assertThat(rank.device().failure()).as("nobody has looked").isNull();
    }
}
