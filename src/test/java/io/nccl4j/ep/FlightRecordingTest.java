package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The events in a JFR recording, whenever it is started. */
@EmulatedRanks(1)
class FlightRecordingTest {
    private static final String LIFECYCLE = "io.nccl4j.Lifecycle";
    private static final String CALL = "io.nccl4j.Call";

    @TempDir
    private Path folder;

    private static void layer(EmulatedRank rank, Runnable beforeDispatch) {
        layer(rank, 0, beforeDispatch);
    }

    /** @param before steps that come before, so that nothing of the last one is new */
    private static void layer(EmulatedRank rank, int before, Runnable beforeDispatch) {
        try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                CudaStream stream = CudaStream.create(rank.device());
                EpGroup group = EpGroup.create(communicator,
                        EpGroupConfig.lowLatency().experts(4).maxTokensPerRank(4).maxTokenBytes(1024)
                                .layout(Layout.EXPERT_MAJOR).topK(2));
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16))) {
            Runnable step = () -> {
                handle.dispatchAsync(buffers, 4, stream);
                handle.combineAsync(buffers, stream);
            };
            for (int i = 0; i < before; i++) {
                step.run();
            }
            beforeDispatch.run();
            step.run();
            stream.synchronize();
        }
    }

    private List<RecordedEvent> events(Recording recording) throws IOException {
        recording.stop();
        Path file = folder.resolve("events.jfr");
        recording.dump(file);
        return RecordingFile.readAllEvents(file);
    }

    private static List<String> calls(List<RecordedEvent> events) {
        return events.stream().filter(event -> event.getEventType().getName().equals(CALL))
                .map(event -> event.getString("function")).toList();
    }

    private static List<String> lifecycle(List<RecordedEvent> events, String action) {
        return events.stream().filter(
                event -> event.getEventType().getName().equals(LIFECYCLE) && event.getString("action").equals(action))
                .map(event -> event.getString("object").replaceAll("#.*", "")).toList();
    }

    @Test
    void recordsLifeCyclesAndCalls(EmulatedCluster cluster) throws IOException {
        try (Recording recording = new Recording()) {
            recording.enable(LIFECYCLE);
            recording.enable(CALL);
            recording.start();
            cluster.run(rank -> layer(rank, () -> {
            }));
            List<RecordedEvent> events = events(recording);
            assertThat(lifecycle(events, "create")).contains("EpGroup", "EpHandle");
            assertThat(lifecycle(events, "close")).contains("EpGroup", "EpHandle");
            assertThat(calls(events)).containsExactly("ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine");
        }
    }

    @Test
    void recordsFromTheMiddleOfARunOn(EmulatedCluster cluster) throws IOException {
        try (Recording recording = new Recording()) {
            recording.enable(LIFECYCLE);
            recording.enable(CALL);
            cluster.run(rank -> layer(rank, recording::start));
            List<RecordedEvent> events = events(recording);
            assertThat(lifecycle(events, "create")).isEmpty();
            assertThat(calls(events)).containsExactly("ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine");
        }
    }

    @Test
    void recordsCallsThatWereMadeBefore(EmulatedCluster cluster) throws IOException {
        try (Recording recording = new Recording()) {
            recording.enable(CALL);
            cluster.run(rank -> layer(rank, 3, recording::start));
            assertThat(calls(events(recording))).containsExactly("ncclEpUpdateHandle", "ncclEpDispatch",
                    "ncclEpCombine");
        }
    }

    @Test
    void recordsLaunchesOfAGraphThatWasLaunchedBefore(EmulatedCluster cluster) throws IOException {
        try (Recording recording = new Recording()) {
            recording.enable(CALL);
            cluster.run(rank -> {
                try (CudaStream stream = CudaStream.create(rank.device());
                        DeviceMemory memory = DeviceMemory.allocate(rank.device(), 16);
                        CudaGraph graph = stream.capture(() -> memory.fillAsync((byte) 1, stream));
                        CudaGraphExec replay = graph.instantiate()) {
                    replay.launch(stream);
                    replay.launch(stream);
                    recording.start();
                    replay.launch(stream);
                    stream.synchronize();
                }
            });
            assertThat(calls(events(recording))).containsExactly("cudaGraphLaunch");
        }
    }

    @Test
    void recordsNothingAfterTheEnd(EmulatedCluster cluster) throws IOException {
        try (Recording recording = new Recording()) {
            recording.enable(CALL);
            recording.start();
            List<RecordedEvent> events = events(recording);
            cluster.run(rank -> layer(rank, () -> {
            }));
            assertThat(calls(events)).isEmpty();
        }
    }
}
