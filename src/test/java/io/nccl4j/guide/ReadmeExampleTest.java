package io.nccl4j.guide;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The README's example as a program: it runs on the emulator, and it is what the README shows. */
class ReadmeExampleTest {
    private static final int EXPERTS = 8;
    private static final int MAX_TOKENS = 16;
    private static final int HIDDEN = 512;
    private static final int TOP_K = 2;

    @Test
    @EmulatedRanks(4)
    void theExampleRuns(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (EchoServer server = new EchoServer(rank.device(), rank.rank())) {
                serve(rank.bootstrap(), server, EXPERTS, MAX_TOKENS, HIDDEN, TOP_K);
                assertThat(server.batches).isEqualTo(EchoServer.BATCHES);
            }
        });
    }

    private static void serve(Bootstrap bootstrap, EchoServer server, int experts, int maxTokens, int hidden,
            int topK) {
        // example
        CudaDevice device = CudaDevice.of(bootstrap.localRank());
        try (Communicator comm = Communicator.init(bootstrap, device);
                CudaStream stream = CudaStream.create(device);
                EpGroup group = EpGroup.create(comm, EpGroupConfig.lowLatency()
                        .experts(experts).maxTokensPerRank(maxTokens).maxTokenBytes(hidden * 2)
                        .layout(Layout.EXPERT_MAJOR).topK(topK).build());
                EpHandle handle = group.createHandle();
                // Maximum capacity, fixed addresses; counts stay on the device.
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(hidden, DataType.BFLOAT16))) {

            // Compiles and loads what a capture must not; collective.
            handle.warmUp(buffers, maxTokens, stream);
            // Recorded once: dispatch, your experts on your stream, combine.
            try (CudaGraph graph = stream.capture(() -> {
                handle.dispatchAsync(buffers, maxTokens, stream);
                server.enqueueExperts(buffers.received(), buffers.expertCounts(), buffers.expertOutputs(), stream);
                handle.combineAsync(buffers, stream);
            }); CudaGraphExec step = graph.instantiate()) {
                while (server.nextBatch()) {
                    // New tokens, routing and weights go into the same memory; rows of -1 are no tokens.
                    server.copyTokensAndRouting(buffers, stream);
                    step.launch(stream); // one native call per step
                    server.useCombined(buffers.combined(), stream);
                }
            }
        }
        // end
    }

    @Test
    void theReadmeShowsThisExample() throws IOException {
        String source = Files.readString(Path.of("src/test/java/io/nccl4j/guide/ReadmeExampleTest.java"));
        String code = source.substring(source.indexOf("        // example\n") + "        // example\n".length(),
                source.indexOf("        // end\n"));
        String shown = code.lines().map(line -> line.isEmpty() ? line : line.substring(8))
                .collect(Collectors.joining("\n", "```java\n", "\n```"));
        assertThat(Files.readString(Path.of("README.md"))).contains(shown);
    }

    /** A server whose experts give back what they get, so that with weights that add up to 1 every token comes home unchanged. */
    private static final class EchoServer implements AutoCloseable {
        static final int BATCHES = 20;

        private final int rank;
        private final PinnedMemory tokens;
        private final PinnedMemory routing;
        private final PinnedMemory weights;
        private final PinnedMemory combined;
        private int batches;

        EchoServer(CudaDevice device, int rank) {
            this.rank = rank;
            tokens = PinnedMemory.allocate(device, (long) MAX_TOKENS * HIDDEN * Short.BYTES);
            combined = PinnedMemory.allocate(device, (long) MAX_TOKENS * HIDDEN * Short.BYTES);
            routing = PinnedMemory.allocate(device, (long) MAX_TOKENS * TOP_K * Long.BYTES);
            weights = PinnedMemory.allocate(device, (long) MAX_TOKENS * TOP_K * Float.BYTES);
        }

        boolean nextBatch() {
            if (batches == BATCHES) {
                return false;
            }
            batches++;
            return true;
        }

        private int size() {
            return (batches * 5 + rank) % (MAX_TOKENS + 1);
        }

        private float value(int token, int i) {
            return rank * 32 + batches + token - i % 7;
        }

        void copyTokensAndRouting(EpBuffers buffers, CudaStream stream) {
            for (int t = 0; t < MAX_TOKENS; t++) {
                for (int i = 0; i < HIDDEN; i++) {
                    tokens.segment().setAtIndex(JAVA_SHORT, (long) t * HIDDEN + i, BFloat16.fromFloat(value(t, i)));
                }
                for (int k = 0; k < TOP_K; k++) {
                    long expert = t < size() ? (t + batches + (long) k * 3 + rank) % EXPERTS : -1;
                    routing.segment().setAtIndex(JAVA_LONG, (long) t * TOP_K + k, expert);
                    weights.segment().setAtIndex(JAVA_FLOAT, (long) t * TOP_K + k, k == 0 ? 0.25f : 0.75f);
                }
            }
            buffers.tokens().memory().copyFromAsync(tokens, tokens.byteSize(), stream);
            buffers.routing().memory().copyFromAsync(routing, routing.byteSize(), stream);
            buffers.weights().memory().copyFromAsync(weights, weights.byteSize(), stream);
        }

        void enqueueExperts(EpTensor received, EpTensor counts, EpTensor outputs, CudaStream stream) {
            assertThat(counts.shape()).containsExactly(EXPERTS / 4);
            outputs.memory().copyFromAsync(received.memory(), received.byteSize(), stream);
        }

        void useCombined(EpTensor output, CudaStream stream) {
            output.memory().copyToAsync(combined, combined.byteSize(), stream);
            stream.await(Duration.ofSeconds(30));
            for (int t = 0; t < MAX_TOKENS; t++) {
                for (int i = 0; i < HIDDEN; i++) {
                    float got = BFloat16.toFloat(combined.segment().getAtIndex(JAVA_SHORT, (long) t * HIDDEN + i));
                    assertThat(got).isEqualTo(t < size() ? value(t, i) : 0f);
                }
            }
        }

        @Override
        public void close() {
            tokens.close();
            routing.close();
            weights.close();
            combined.close();
        }
    }
}
