package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
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
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The README's example as a program: it runs on the emulator, and it is what the README shows. */
class ReadmeExampleTest {
    @Test
    @EmulatedRanks(4)
    void theExampleRuns(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (EchoServer server = new EchoServer(new GuideModel(rank.device(), rank.rank()))) {
                serve(rank.bootstrap(), server, GuideModel.EXPERTS, GuideModel.MAX_TOKENS, GuideModel.HIDDEN,
                        GuideModel.TOP_K);
                assertThat(server.model.isDone()).isTrue();
            }
        });
    }

    private static void serve(Bootstrap bootstrap, EchoServer server, int experts, int maxTokens, int hidden,
            int topK) {
        // example
        CudaDevice device = bootstrap.device();
        try (Communicator comm = Communicator.init(bootstrap, device);
                CudaStream stream = CudaStream.create(device);
                EpGroup group = EpGroup.create(comm,
                        EpGroupConfig.lowLatency().experts(experts).maxTokensPerRank(maxTokens)
                                .maxTokenBytes(hidden * 2).layout(Layout.EXPERT_MAJOR).topK(topK).build());
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

    /** The guide's server with a single layer. */
    private record EchoServer(GuideModel model) implements AutoCloseable {
        boolean nextBatch() {
            return model.nextBatch();
        }

        void copyTokensAndRouting(EpBuffers buffers, CudaStream stream) {
            model.load(buffers, stream);
            model.attention(0, buffers, stream);
        }

        void enqueueExperts(EpTensor received, EpTensor counts, EpTensor outputs, CudaStream stream) {
            assertThat(counts.shape()).containsExactly(GuideModel.EXPERTS / 4);
            outputs.memory().copyFromAsync(received.memory(), received.byteSize(), stream);
        }

        void useCombined(EpTensor output, CudaStream stream) {
            model.use(output, stream);
            model.verifyNothingBeyondTheBatch();
        }

        @Override
        public void close() {
            model.close();
        }
    }
}
