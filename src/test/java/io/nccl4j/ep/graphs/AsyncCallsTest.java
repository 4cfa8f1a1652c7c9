package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.checks.Condition;
import io.nccl4j.checks.StepCost;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Gate;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorCall;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The promises of {@code dispatchAsync} and {@code combineAsync}, by the emulator's call log and counters. */
@EmulatedRanks(1)
class AsyncCallsTest {
    private static final String[] CALLS = {"ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine"};

    private final CaseSeeds seeds = CaseSeeds.fresh();

    static Stream<Arguments> combinations() {
        return Stream.concat(Stream.of(LayerKind.values()).map(kind -> Arguments.of(kind, Quantisation.PLAIN)),
                QuantisedBuffersTest.combinations());
    }

    private EpCase draw(LayerKind kind) {
        return seeds.draw(kind.space(1).withFormat(NumberFormat.BFLOAT16).withHidden(512));
    }

    private static void step(MoeLayer layer, int tokens, MoeRank self) {
        layer.dispatch(tokens);
        layer.combine();
    }

    @ParameterizedTest
    @MethodSource("combinations")
    void theyMakeTheirNativeCallsAndNoOther(LayerKind kind, Quantisation quantisation, EmulatedCluster cluster) {
        Emulator.options().computeCapability(100);
        EpCase model = draw(kind);
        int most = model.shape().maxTokens();
        MoeRank.run(cluster, kind, model, (self, unused) -> {
            MoeLayer layer = self.layer(quantisation.buffers(model));
            layer.handle().warmUp(layer.buffers(), most, self.stream());
            EmulatorUsage usage = Emulator.usage();
            List<String> expected = new ArrayList<>();
            try (Gate gate = Gate.on(self.stream())) {
                Emulator.logCalls(1000);
                for (int tokens : new int[]{most, 0, 1, most}) {
                    step(layer, tokens, self);
                    Collections.addAll(expected, CALLS);
                }
                gate.verifyClosed();
            }
            assertThat(Emulator.calls()).allMatch(EmulatorCall::succeeded).extracting(EmulatorCall::function)
                    .isEqualTo(expected);

            Emulator.logCalls(1000);
            try (CudaGraph graph = self.stream().capture(() -> step(layer, most, self));
                    CudaGraph smaller = self.stream().capture(() -> step(layer, 1, self))) {
                assertThat(Emulator.calls()).allMatch(EmulatorCall::succeeded).extracting(EmulatorCall::function)
                        .containsExactly("cudaStreamBeginCapture", CALLS[0], CALLS[1], CALLS[2], "cudaStreamEndCapture",
                                "cudaStreamBeginCapture", CALLS[0], CALLS[1], CALLS[2], "cudaStreamEndCapture");
                try (CudaGraphExec exec = graph.instantiate(); CudaGraphExec smallExec = smaller.instantiate()) {
                    Emulator.logCalls(0);
                    try (Gate gate = Gate.on(self.stream())) {
                        Emulator.logCalls(1000);
                        exec.launch(self.stream());
                        smallExec.launch(self.stream());
                        exec.launch(self.stream());
                        gate.verifyClosed();
                    }
                    assertThat(Emulator.calls()).extracting(EmulatorCall::function).containsExactly("cudaGraphLaunch",
                            "cudaGraphLaunch", "cudaGraphLaunch");
                    assertThat(Emulator.usage().hostWaits()).isEqualTo(usage.hostWaits());
                    assertThat(Emulator.usage().deviceAllocations()).isEqualTo(usage.deviceAllocations());
                    self.stream().await(MoeRank.LIMIT);
                }
            }
            Emulator.logCalls(0);
        });
    }

    @ParameterizedTest
    @MethodSource("combinations")
    @EmulatedRanks(value = 1, limitSeconds = 120)
    void theyNeitherWaitNorAllocate(LayerKind kind, Quantisation quantisation, EmulatedCluster cluster) {
        Emulator.options().computeCapability(100);
        measure(kind, quantisation, draw(kind), cluster);
    }

    private static void measure(LayerKind kind, Quantisation quantisation, EpCase model, EmulatedCluster cluster) {
        int most = model.shape().maxTokens();
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, model);
                    MoeLayer layer = self.layer(quantisation.buffers(model));
                    CudaGraph graph = self.stream().capture(() -> step(layer, most, self));
                    CudaGraphExec exec = graph.instantiate()) {
                layer.handle().warmUp(layer.buffers(), most, self.stream());
                int[] count = {0};
                StepCost.verify(self.stream(), CALLS.length,
                        () -> step(layer, count[0] = (count[0] + 1) % (most + 1), self));
                StepCost.verify(self.stream(), 1, () -> exec.launch(self.stream()));
            }
        });
    }

    /** Without windows, high throughput reads counts on the host: that it is seen here says that it would be above. */
    @Test
    void aDispatchThatReadsCountsIsSeen(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.HT_FLAT;
        EpCase model = draw(kind);
        MoeRank.run(cluster, kind, model, (self, layer) -> {
            try (DeviceMemory staged = DeviceMemory.allocate(self.device(), layer.buffers().received().byteSize())) {
                EpBuffers buffers = layer.buffers();
                layer.handle().warmUp(buffers, model.shape().maxTokens(), self.stream());
                EpTensor rows = EpTensor.of(staged, LayerKind.type(model.format()), buffers.received().rows(),
                        model.hidden());
                verifyWaits(self,
                        () -> layer.handle().dispatch(DispatchInputs.of(buffers.tokens(), buffers.weights()),
                                DispatchOutputs.of(rows, buffers.receivedWeights(), buffers.receivedIndices()), null,
                                self.stream()));
            }
        });
    }

    /** The call waits for the stream, as another thread sees, which lets the stream go on then. */
    private static void verifyWaits(MoeRank self, Runnable call) throws Exception {
        long waits = Emulator.usage().hostWaits();
        try (Gate gate = Gate.on(self.stream())) {
            CompletableFuture<Void> opener = CompletableFuture.runAsync(() -> {
                Condition.await("a wait of the host", () -> Emulator.usage().hostWaits() != waits);
                gate.open();
            }, task -> Thread.ofPlatform().daemon().start(task));
            call.run();
            assertThat(Emulator.usage().hostWaits()).isEqualTo(waits + 1);
            opener.get(10, TimeUnit.SECONDS);
        }
        self.stream().await(MoeRank.LIMIT);
    }
}
