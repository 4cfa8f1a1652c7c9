package io.nccl4j.guide;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** The pictures of docs/concepts.md: the same routing, and what rank 0 receives of it in each layout. */
@EmulatedRanks(2)
class PicturesTest {
    private static final int HIDDEN = 512;
    private static final int MAX_TOKENS = 4;
    /** Of three tokens of each rank. */
    private static final long[][] EXPERTS = {{0, 2, 1, 3, 0, 1}, {1, 2, 0, 3, 2, 3}};
    private static final float[][] WEIGHTS = {{.3f, .7f, .4f, .6f, .5f, .5f}, {.2f, .8f, .9f, .1f, .6f, .4f}};

    /** The rows that rank 0 reads, in words. */
    private interface Look {
        List<String> at(EpBuffers buffers, List<String> rows);
    }

    @Test
    void lowLatencyExpertMajor(EmulatedCluster cluster) {
        assertThat(run(cluster, EpGroupConfig.lowLatency().layout(Layout.EXPERT_MAJOR),
                (buffers, rows) -> List.of(Arrays.toString(ints(buffers.expertCounts())),
                        new TreeSet<>(rows.subList(0, 3)).toString(), new TreeSet<>(rows.subList(8, 11)).toString())))
                .containsExactly("[3, 3]", "[a0, a2, b1]", "[a1, a2, b0]");
    }

    @Test
    void lowLatencyRankMajor(EmulatedCluster cluster) {
        assertThat(run(cluster, EpGroupConfig.lowLatency().layout(Layout.RANK_MAJOR), (buffers, rows) -> {
            int[] indices = ints(buffers.receivedIndices());
            float[] weights = read(buffers.receivedWeights()).toArray(JAVA_FLOAT);
            List<String> words = new ArrayList<>(List.of(Arrays.toString(ints(buffers.sourceRankCounts()))));
            for (int row : new int[]{0, 1, 2, 4, 5}) {
                words.add(rows.get(row) + " " + indices[row * 2] + " " + indices[row * 2 + 1] + " " + weights[row * 2]
                        + " " + weights[row * 2 + 1]);
            }
            return words;
        })).containsExactly("[3, 2]", "a0 0 -1 0.3 0.7", "a1 1 -1 0.4 0.6", "a2 0 1 0.5 0.5", "b0 1 -1 0.2 0.8",
                "b1 0 -1 0.9 0.1");
    }

    @Test
    void highThroughputFlat(EmulatedCluster cluster) {
        assertThat(run(cluster, EpGroupConfig.highThroughput().layout(Layout.FLAT), (buffers, rows) -> {
            long[] indices = read(buffers.receivedIndices()).toArray(JAVA_LONG);
            float[] weights = read(buffers.receivedWeights()).toArray(JAVA_FLOAT);
            List<String> words = new ArrayList<>(List.of(Arrays.toString(ints(buffers.receivedTotal())),
                    Arrays.toString(ints(buffers.expertCounts()))));
            for (int row = 0; row < 5; row++) {
                words.add(rows.get(row) + " " + indices[row * 2] + " " + indices[row * 2 + 1] + " " + weights[row * 2]
                        + " " + weights[row * 2 + 1]);
            }
            return words;
        })).containsExactly("[5]", "[3, 3]", "a0 0 -1 0.3 0.0", "a1 1 -1 0.4 0.0", "a2 0 1 0.5 0.5", "b0 1 -1 0.2 0.0",
                "b1 0 -1 0.9 0.0");
    }

    @Test
    void highThroughputExpertMajor(EmulatedCluster cluster) {
        assertThat(run(cluster, EpGroupConfig.highThroughput().layout(Layout.EXPERT_MAJOR).alignment(4),
                (buffers, rows) -> List.of(Arrays.toString(ints(buffers.receivedTotal())),
                        Arrays.toString(ints(buffers.expertCounts())), Arrays.toString(ints(buffers.expertOffsets())),
                        rows.subList(0, 8).toString(),
                        Arrays.toString(read(buffers.receivedWeights()).asSlice(0, 32).toArray(JAVA_FLOAT)))))
                .containsExactly("[8]", "[4, 4]", "[0, 4]", "[a0, a2, b1, zeros, a1, a2, b0, zeros]",
                        "[0.3, 0.5, 0.9, 0.0, 0.4, 0.5, 0.2, 0.0]");
    }

    private static List<String> run(EmulatedCluster cluster, EpGroupConfig group, Look look) {
        EpGroupConfig config = group.experts(4).maxTokensPerRank(MAX_TOKENS).maxTokenBytes(HIDDEN * 4).topK(2);
        return cluster.call(rank -> run(rank, config, look)).getFirst();
    }

    private static List<String> run(EmulatedRank rank, EpGroupConfig config, Look look) {
        try (Communicator comm = Communicator.init(rank.bootstrap(), rank.device());
                CudaStream stream = CudaStream.create(rank.device());
                EpGroup group = EpGroup.create(comm, config);
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.FLOAT32));
                Arena host = Arena.ofConfined()) {
            MemorySegment tokens = host.allocate(JAVA_FLOAT, 3L * HIDDEN);
            for (int token = 0; token < 3; token++) {
                tokens.setAtIndex(JAVA_FLOAT, (long) token * HIDDEN, 10 * (rank.rank() + 1) + token);
            }
            buffers.tokens().memory().copyFrom(tokens);
            buffers.routing().memory().copyFrom(host.allocateFrom(JAVA_LONG, EXPERTS[rank.rank()]));
            buffers.weights().memory().copyFrom(host.allocateFrom(JAVA_FLOAT, WEIGHTS[rank.rank()]));
            handle.dispatchAsync(buffers, 3, stream);
            stream.await(Duration.ofSeconds(20));
            MemorySegment received = read(buffers.received());
            List<String> rows = new ArrayList<>();
            for (long row = 0; row < received.byteSize() / 4 / HIDDEN; row++) {
                int value = (int) received.getAtIndex(JAVA_FLOAT, row * HIDDEN);
                rows.add(value == 0 ? "zeros" : "" + (char) ('a' + value / 10 - 1) + value % 10);
            }
            List<String> words = look.at(buffers, rows);
            handle.combineAsync(buffers, stream);
            stream.await(Duration.ofSeconds(20));
            return words;
        }
    }

    private static int[] ints(EpTensor tensor) {
        return read(tensor).toArray(JAVA_INT);
    }

    private static MemorySegment read(EpTensor tensor) {
        MemorySegment host = Arena.ofAuto().allocate(tensor.byteSize(), 8);
        tensor.memory().copyTo(host);
        return host;
    }
}
