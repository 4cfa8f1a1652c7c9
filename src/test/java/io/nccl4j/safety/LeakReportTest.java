package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.checks.Condition;
import io.nccl4j.checks.LogListener;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.internal.Ownership;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import org.junit.jupiter.api.Test;

/** A leak is reported with the place that made the object, and nothing native is done by the garbage collector. */
class LeakReportTest {
    @Test
    @EmulatedRanks(value = 1, allowLeaks = true)
    void theGarbageCollectorReportsAndDestroysNothing(EmulatedCluster cluster) {
        try (LogListener log = new LogListener("io.nccl4j.leak")) {
            long before = Ownership.leaks();
            List<String> expected = List.of("DeviceMemory", "CudaStream", "Communicator", "EpGroup", "EpHandle",
                    "CudaGraphExec");
            cluster.run(rank -> drop(rank));
            long destroyed = destructions();
            Condition.await("reports of all", () -> {
                System.gc();
                return reported(log.lines(), expected) && Ownership.leaks() - before >= expected.size();
            });
            assertThat(log.lines()).allSatisfy(report -> assertThat(report).contains("never closed")
                    .containsPattern("Created at .*(LeakReportTest|MoeRank)\\.java:\\d+"));
            assertThat(destructions()).isEqualTo(destroyed);
        }
    }

    private static boolean reported(List<String> reports, List<String> kinds) {
        return kinds.stream().allMatch(kind -> reports.stream().anyMatch(report -> report.contains(kind + "#")));
    }

    private static long destructions() {
        return List
                .of("cudaFree", "cudaStreamDestroy", "cudaGraphExecDestroy", "ncclEpHandleDestroy",
                        "ncclEpGroupDestroy", "ncclCommDestroy", "ncclCommAbort")
                .stream().mapToLong(Emulator::callCount).sum();
    }

    /** Makes one of each and forgets them. */
    private static void drop(io.nccl4j.emulator.EmulatedRank rank) {
        LayerKind shape = LayerKind.LL_EXPERT_MAJOR;
        var model = shape.draw(1, 51);
        Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
        EpGroup group = EpGroup.create(communicator, shape.config(model));
        group.createHandle();
        DeviceMemory memory = DeviceMemory.allocate(rank.device(), 64);
        var stream = io.nccl4j.cuda.CudaStream.create(rank.device());
        try (CudaGraph graph = stream.capture(() -> memory.fillAsync((byte) 1, stream))) {
            CudaGraphExec exec = graph.instantiate();
            exec.launch(stream);
        }
        stream.await(MoeRank.LIMIT);
    }
}
