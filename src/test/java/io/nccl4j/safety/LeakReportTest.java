package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.internal.LeakCount;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;

/** A leak is reported with the place that made the object, and nothing native is done by the garbage collector. */
class LeakReportTest {
    private static final long LIMIT_NANOS = 30_000_000_000L;

    @Test
    @EmulatedRanks(value = 1, allowLeaks = true)
    void theGarbageCollectorReportsAndDestroysNothing(EmulatedCluster cluster) {
        List<String> reports = new CopyOnWriteArrayList<>();
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord record) {
                Object[] values = record.getParameters();
                reports.add(record.getMessage() + (values == null ? "" : " " + List.of(values)));
            }

            @Override
            public void flush() {
            }

            @Override
            public void close() {
            }
        };
        Logger logger = Logger.getLogger("io.nccl4j.leak");
        logger.addHandler(handler);
        try {
            long before = LeakCount.total();
            List<String> expected = List.of("DeviceMemory", "CudaStream", "Communicator", "EpGroup", "EpHandle",
                    "CudaGraphExec");
            cluster.run(rank -> drop(rank));
            long destroyed = destructions();
            long deadline = System.nanoTime() + LIMIT_NANOS;
            while ((!reported(reports, expected) || LeakCount.total() - before < expected.size())
                    && System.nanoTime() < deadline) {
                System.gc();
                Thread.onSpinWait();
            }
            assertThat(reported(reports, expected)).as("reports: %s", reports).isTrue();
            assertThat(LeakCount.total() - before).isGreaterThanOrEqualTo(expected.size());
            assertThat(reports).allSatisfy(report -> assertThat(report).contains("never closed")
                    .containsPattern("Created at .*(LeakReportTest|MoeRank)\\.java:\\d+"));
            assertThat(destructions()).isEqualTo(destroyed);
        } finally {
            logger.removeHandler(handler);
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
