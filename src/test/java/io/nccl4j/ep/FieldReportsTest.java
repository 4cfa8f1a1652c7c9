package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorRun;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.FutureTask;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Failures that users of libraries like this one have met, by the names of docs/failure-modes.md. */
@EmulatedRanks(2)
class FieldReportsTest {
    private static void refuses(EpGroupConfig config, int ranks, Layout layout, String... texts) {
        Violations violations = new Violations();
        HandleRules.checkShape(
                new HandleShape(GroupShape.of(config, ranks, 1, DeviceLimits.ANY), layout, config.topK(), 0),
                violations);
        assertIllegalArgument(violations::refuse, texts);
    }

    @Test
    void r6MoreRowsThanSlotMapsCanNumberAreRefused() {
        // 64 ranks with 8192 tokens of top-8: the default budget is too large for a mode that duplicates rows.
        EpGroupConfig config = EpGroupConfig.highThroughput().experts(256).maxTokensPerRank(8192).maxTokenBytes(14336)
                .layout(Layout.EXPERT_MAJOR).topK(8).alignment(128).zeroCopy(ZeroCopy.ON);
        long rows = EpSizing.of(config, 64).receiveRows();
        refuses(config, 64, Layout.EXPERT_MAJOR, "the receive budget is " + rows + " rows", "at most 4194303");
    }

    @Test
    void r6MoreRowsThanLowLatencyCanCountAreRefused() {
        EpGroupConfig config = RuleBench.lowLatency(Layout.RANK_MAJOR);
        assertIllegalArgument(() -> EpSizing.of(config.maxTokensPerRank(16_384), 2), "maxTokensPerRank is 16384",
                "16383 rows");
        assertThat(EpSizing.of(config.maxTokensPerRank(16_383), 2).receiveRows()).isEqualTo(2 * 16_383);
    }

    @EachLayerKind
    void r10RoutersMayWriteInt32(LayerKind kind, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, kind, kind.draw(2, 10))) {
                MoeLayer layer = world.layer(world.rows().routing(DataType.INT32));
                assertThat(layer.buffers().routing().facts().type()).isEqualTo(DataType.INT32);
                for (RoutingKind routing : kind.routings()) {
                    layer.runAndVerify(world.draw(routing, 11));
                }
                try (CudaGraphExec exec = layer.capture(layer.buffers().maxTokens())) {
                    EpCase batch = world.draw(RoutingKind.HOLES, 12);
                    layer.runAndVerify(batch, exec);
                }
            }
        });
        assertIllegalArgument(() -> BufferConfig.of(64, DataType.BFLOAT16).routing(DataType.UINT8),
                "must be INT64 or INT32");
    }

    @ParameterizedTest
    @CsvSource({"2880, 3072", "2688, 3072", "6400, 6656"})
    void r11TheHiddenThatWorksIsToldBeforeAGroupExists(int hidden, int padded) {
        EpGroupConfig config = RuleBench.lowLatency(Layout.EXPERT_MAJOR).maxTokenBytes(2 * padded);
        EpSizing sizing = EpSizing.of(config, 2);
        assertIllegalArgument(() -> sizing.buffersBytes(BufferConfig.of(hidden, DataType.BFLOAT16)),
                "hidden is " + hidden, "pad rows to " + padded);
        assertThat(EpSizing.paddedHidden(Algorithm.LOW_LATENCY, hidden, DataType.BFLOAT16)).isEqualTo(padded);
        assertThat(sizing.buffersBytes(BufferConfig.of(padded, DataType.BFLOAT16))).isPositive();
    }

    @Test
    @EmulatedRanks(3)
    void r12AllBrokenRulesAreToldAtOnceWithTheNumberThatFits(EmulatedCluster cluster) {
        EpGroupConfig config = EpGroupConfig.highThroughput().experts(256).maxTokensPerRank(9).maxTokenBytes(128)
                .layout(Layout.FLAT).topK(2).maxSms(20);
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            assertThatThrownBy(() -> EpGroup.create(communicator, config)).isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContainingAll("rules are broken", "256 experts on 3 ranks", "works is 264",
                            "maxSms is 20", "such as with maxTokensPerRank 12")
                    .hasMessageNotContaining("258");
            rank.bootstrap().barrier();
        });
        assertThat(EpSizing.paddedExperts(Algorithm.HIGH_THROUGHPUT, 256, 3)).isEqualTo(264);
        assertThat(EpSizing.paddedExperts(Algorithm.LOW_LATENCY, 256, 3)).isEqualTo(258);
    }

    @Test
    @EmulatedRanks(value = 1, allowMisuse = true, allowLeaks = true)
    void r15TheReasonOfAFailedReplayIsInTheException(EmulatedCluster cluster) {
        EpGroupConfig config = RuleBench.lowLatency(Layout.EXPERT_MAJOR).topK(4);
        Throwable thrown = replayOf(cluster, config, routing -> new byte[routing]);
        assertThrown(CudaException.class, thrown, "more than 8 rows arrive for expert 0");
    }

    @EachLayerKind
    @EmulatedRanks(value = 1, allowMisuse = true, allowLeaks = true)
    void r16AnExpertOutOfRangeAtAReplayIsAnError(LayerKind kind, EmulatedCluster cluster) {
        EpGroupConfig config = kind.isLowLatency()
                ? RuleBench.lowLatency(kind.layout())
                : RuleBench.highThroughput(kind.layout());
        Throwable thrown = replayOf(cluster, config, bytes -> {
            ByteBuffer routing = ByteBuffer.allocate(bytes).order(java.nio.ByteOrder.LITTLE_ENDIAN);
            while (routing.hasRemaining()) {
                routing.putLong(routing.position() == 24 ? 99 : -1);
            }
            return routing.array();
        });
        assertThrown(CudaException.class, thrown, "topk_idx holds expert 99, there are 8");
    }

    private interface Routing {
        byte[] of(int bytes);
    }

    /** The outcome of a graph whose routing has become that after a good replay. */
    private static Throwable replayOf(EmulatedCluster cluster, EpGroupConfig config, Routing bad) {
        return cluster.call(rank -> {
            Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
            CudaStream stream = CudaStream.create(rank.device());
            EpGroup group = EpGroup.create(communicator, config);
            EpHandle handle = group.createHandle();
            EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(
                    config.algorithm() == Algorithm.LOW_LATENCY ? RuleBench.LL_HIDDEN : RuleBench.HT_HIDDEN,
                    DataType.BFLOAT16));
            CudaGraph graph = stream.capture(() -> {
                handle.dispatchAsync(buffers, RuleBench.TOKENS, stream);
                handle.combineAsync(buffers, stream);
            });
            CudaGraphExec exec = graph.instantiate();
            exec.launch(stream);
            stream.await(MoeRank.LIMIT);
            write(buffers.routing(), bad.of((int) buffers.routing().byteSize()));
            exec.launch(stream);
            Throwable thrown = catchThrowable(() -> stream.await(MoeRank.LIMIT));
            // The device is lost, so nothing native is done here.
            for (AutoCloseable made : List.of(exec, graph, buffers, handle, group, stream, communicator)) {
                made.close();
            }
            return thrown;
        }).getFirst();
    }

    @EachLayerKind
    void u2TensorsOfBuffersKeepTheirShape(LayerKind kind, EmulatedCluster cluster) {
        MoeRank.run(cluster, kind, kind.draw(2, 20), (world, layer) -> {
            EpBuffers buffers = layer.buffers();
            int most = buffers.maxTokens();
            layer.enqueue(Math.min(1, most));
            try (CudaGraphExec exec = layer.capture(most)) {
                layer.enqueue(0);
                exec.launch(world.stream());
                assertIllegalArgument(() -> buffers.combined().rows(most - 1), "keeps its shape");
                for (EpTensor tensor : List.of(buffers.routing(), buffers.tokens(), buffers.weights(),
                        buffers.combined())) {
                    assertThat(tensor.rows()).as("%s", tensor).isEqualTo(most);
                    assertThat(tensor.byteSize()).isEqualTo(tensor.memory().byteSize());
                }
                world.await();
            }
        });
    }

    @EachLayerKind
    void u3WarmUpLeavesContentsAsTheyWere(LayerKind kind, EmulatedCluster cluster) {
        MoeRank.run(cluster, kind, kind.draw(2, 30), (world, layer) -> {
            EpBuffers buffers = layer.buffers();
            EpCase batch = world.draw(RoutingKind.UNIFORM, 31);
            layer.load(batch);
            world.await();
            List<EpTensor> kept = Stream.of(buffers.routing(), buffers.tokens(), buffers.weights(), buffers.combined(),
                    buffers.expertOutputs()).toList();
            List<ByteBuffer> before = kept.stream().map(FieldReportsTest::read).toList();
            layer.handle().warmUp(buffers, buffers.maxTokens(), world.stream());
            assertThat(kept.stream().map(FieldReportsTest::read).toList()).isEqualTo(before);
            layer.enqueue(layer.count(batch));
            world.await();
            layer.verify(batch);
        });
    }

    /** Sizes are numbers from 0 on, or an exception says which product is none. */
    @Test
    void h13SizesOfAbsurdNumbersAreNumbersOrAnExceptionThatNamesTheProduct() {
        long seed = new SplittableRandom().nextLong();
        SplittableRandom random = new SplittableRandom(seed);
        int[] numbers = {1, 2, 4, 16, 512, 16_383, 1 << 20, 1 << 30, Integer.MAX_VALUE - 15, Integer.MAX_VALUE};
        int refused = 0;
        for (int i = 0; i < 20_000; i++) {
            LayerKind kind = LayerKind.values()[random.nextInt(4)];
            EpGroupConfig builder = (kind.isLowLatency() ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput())
                    .experts(any(numbers, random)).maxTokensPerRank(any(numbers, random))
                    .maxTokenBytes(any(numbers, random) & ~15).layout(kind.layout()).topK(any(numbers, random));
            int ranks = any(numbers, random);
            int hidden = any(numbers, random);
            for (int method = 0; method < 7; method++) {
                int chosen = method;
                long[] size = {0};
                Throwable thrown = catchThrowable(() -> size[0] = size(EpSizing.of(builder, ranks), chosen, hidden));
                refused += thrown == null ? 0 : 1;
                assertThat(size[0]).as("seed %s, case %s", seed, i).isNotNegative();
                if (thrown != null) {
                    assertThat(thrown).as("seed %s, case %s", seed, i).isInstanceOf(IllegalArgumentException.class);
                    assertThat(thrown.getMessage()).as("seed %s, case %s", seed, i).containsPattern(
                            "is not a number from 0 to 2\\^63 - 1|are not a size|is more than 2\\^31 - 1|must be|"
                                    + "at most|can count|needs a|was created with|can bring");
                }
            }
        }
        assertThat(refused).isPositive();
    }

    private static int any(int[] numbers, SplittableRandom random) {
        return numbers[random.nextInt(numbers.length)];
    }

    private static long size(EpSizing sizing, int method, int hidden) {
        return switch (method) {
            case 0 -> sizing.rdmaBufferBytes();
            case 1 -> sizing.windowBytes();
            case 2 -> sizing.groupBytes();
            case 3 -> sizing.receiveRows();
            case 4 -> sizing.receivedBytes(hidden, DataType.FLOAT32);
            case 5 -> sizing.buffersBytes(hidden, DataType.BFLOAT16);
            default -> EpSizing.paddedHidden(Algorithm.HIGH_THROUGHPUT, hidden, DataType.BFLOAT16);
        };
    }

    @EachLayerKind
    void h17AForeignThreadReadsNoCounts(LayerKind kind, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, kind, kind.draw(2, 17))) {
                EpBuffers buffers = world.layer().buffers();
                FutureTask<Throwable> task = new FutureTask<>(
                        () -> catchThrowable(() -> buffers.readCountsForDebug(world.stream())));
                Thread.ofPlatform().start(task).join();
                assertThrown(IllegalStateException.class, task.resultNow(), "call bindToCurrentThread()");
            }
        });
    }

    /** The row that goes in is the longer one: 2 bytes an element, not 1 and a scale for each 128. */
    @EachLowLatencyKind
    void n1InputRowsOfEveryRecipeFit(LayerKind kind, EmulatedCluster cluster) {
        BufferConfig rows = BufferConfig.of(512, DataType.BFLOAT16).blockScaledFp8(false);
        RuleBench.run(cluster, bench -> {
            EpHandle small = bench.calls(RuleBench.lowLatency(kind.layout()).maxTokenBytes(640)).handle;
            assertIllegalArgument(() -> small.allocateBuffers(rows), "has 1024 bytes", "maxTokenBytes 640");
            explicit(kind, bench, small);
            EpHandle large = bench.calls(RuleBench.lowLatency(kind.layout()).maxTokenBytes(1024)).handle;
            EpBuffers buffers = bench.own(large.allocateBuffers(rows));
            large.dispatchAsync(buffers, RuleBench.TOKENS, bench.stream);
            bench.stream.await(MoeRank.LIMIT);
        });
    }

    private static void explicit(LayerKind kind, RuleBench bench, EpHandle handle) {
        RuleBench.Calls calls = bench.new Calls(handle.group(), handle).update();
        long[] extents = calls.outputs.tokens().facts().extents();
        long[] factors = Arrays.copyOf(extents, 3);
        factors[2] = 4;
        calls.dispatchConfig = DispatchConfig.defaults().recipe(DispatchRecipe.DS_FP8E3M4);
        calls.outputs = DispatchOutputs.of(bench.tensor(DataType.FLOAT8_E4M3, extents), calls.outputs.weights(),
                calls.outputs.indices(), bench.tensor(DataType.FLOAT32, factors));
        assertThatThrownBy(calls::dispatch).as("%s", kind).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContainingAll("has 1024 bytes", "maxTokenBytes 640");
    }

    private static void write(EpTensor tensor, byte[] data) {
        try (Arena arena = Arena.ofConfined()) {
            tensor.memory().copyFrom(arena.allocateFrom(ValueLayout.JAVA_BYTE, data));
        }
    }

    private static ByteBuffer read(EpTensor tensor) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(tensor.byteSize());
            tensor.memory().copyTo(host);
            return ByteBuffer.wrap(host.toArray(ValueLayout.JAVA_BYTE));
        }
    }
}
