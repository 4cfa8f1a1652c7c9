package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.FutureTask;
import java.util.function.Consumer;
import jdk.jfr.Recording;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A call is made again without a look only if it is the same, and nothing has happened. */
@EmulatedRanks(1)
class RepeatableCallsTest {
    private static final int TOKENS = 4;
    private static final int HIDDEN = 512;

    /** Two handles on one rank, and what calls of the first have as arguments. */
    private static final class Bench implements AutoCloseable {
        final EmulatedRank rank;
        final Communicator communicator;
        final CudaStream stream;
        final CudaStream other;
        final EpGroup group;
        final EpHandle handle;
        final EpHandle second;
        final EpBuffers buffers;
        final DispatchInputs inputs;
        final DispatchOutputs outputs;
        final LayoutInfo info;
        final CombineInputs combineInputs;
        final CombineOutputs combineOutputs;

        Bench(EmulatedRank rank) {
            this.rank = rank;
            communicator = Communicator.init(rank.bootstrap(), rank.device());
            stream = CudaStream.create(rank.device());
            other = CudaStream.create(rank.device());
            group = EpGroup.create(communicator, EpGroupConfig.lowLatency().experts(4).maxTokensPerRank(TOKENS)
                    .maxTokenBytes(HIDDEN * Short.BYTES).layout(Layout.EXPERT_MAJOR).topK(2).build());
            handle = group.createHandle();
            second = group.createHandle();
            buffers = handle.allocateBuffers(HIDDEN, DataType.BFLOAT16);
            inputs = DispatchInputs.of(buffers.tokens());
            outputs = DispatchOutputs.of(buffers.received());
            info = LayoutInfo.of(buffers.expertCounts());
            combineInputs = CombineInputs.of(buffers.expertOutputs());
            combineOutputs = CombineOutputs.of(buffers.combined(), buffers.weights());
        }

        void step(EpHandle on) {
            on.update(buffers.routing(), stream);
            on.dispatch(inputs, outputs, info, stream);
            on.combine(combineInputs, combineOutputs, stream);
        }

        /** The three calls of the step, of which either all can be repeated or none. */
        boolean isRepeated(EpHandle on) {
            List<Boolean> calls = List.of(on.isRepeatedUpdate(buffers.routing(), stream),
                    on.isRepeatedDispatch(inputs, outputs, info, stream),
                    on.isRepeatedCombine(combineInputs, combineOutputs, stream));
            assertThat(calls).containsOnly(calls.getFirst());
            return calls.getFirst();
        }

        void asyncStep() {
            handle.dispatchAsync(buffers, TOKENS, stream);
            handle.combineAsync(buffers, stream);
        }

        @Override
        public void close() {
            stream.await(Duration.ofSeconds(30));
            other.await(Duration.ofSeconds(30));
            buffers.close();
            handle.close();
            second.close();
            group.close();
            other.close();
            stream.close();
            communicator.close();
        }
    }

    /** What may be against a call that was right. */
    enum Event {
        ROUTING_ROWS(b -> b.buffers.routing().rows(TOKENS - 1).rows(TOKENS)), TOKEN_ROWS(
                b -> b.buffers.tokens().rows(TOKENS - 1).rows(TOKENS)), COMBINED_ROWS(
                        b -> b.buffers.combined().rows(TOKENS - 1).rows(TOKENS)), COUNTER_ROWS(
                                b -> b.buffers.expertCounts().rows(1).rows(4)), CLOSE(
                                        b -> DeviceMemory.allocate(b.rank.device(), 256)
                                                .close()), CLOSE_BY_ANOTHER_THREAD(b -> onAnotherThread(() -> {
                                                    b.rank.device().makeCurrent();
                                                    DeviceMemory.allocate(b.rank.device(), 256).close();
                                                })), CAPTURE(b -> b.other.capture(
                                                        () -> b.buffers.tokens().memory().fillAsync((byte) 0, b.other))
                                                        .close()), BOUND_AGAIN(b -> {
                                                            onAnotherThread(b.group::bindToCurrentThread);
                                                            b.group.bindToCurrentThread();
                                                        }), SEND_HALF(b -> {
                                                            b.second.update(b.buffers.routing(), b.stream);
                                                            b.second.dispatch(b.inputs, b.outputs, b.info,
                                                                    DispatchConfig.defaults().sendOnly(), b.stream);
                                                            b.second.complete();
                                                        }), RECORDING(b -> {
                                                            try (Recording recording = new Recording()) {
                                                                recording.start();
                                                            }
                                                        });

        private final Consumer<Bench> happens;

        Event(Consumer<Bench> happens) {
            this.happens = happens;
        }
    }

    private static void onAnotherThread(Runnable action) {
        FutureTask<Void> task = new FutureTask<>(action, null);
        Thread thread = Thread.ofPlatform().start(task);
        try {
            thread.join(Duration.ofSeconds(30));
            assertThat(task.state()).isEqualTo(FutureTask.State.SUCCESS);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @ParameterizedTest
    @EnumSource
    void looksAgainAfter(Event event, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench bench = new Bench(rank)) {
                bench.step(bench.handle);
                assertThat(bench.isRepeated(bench.handle)).isTrue();
                event.happens.accept(bench);
                assertThat(bench.isRepeated(bench.handle)).isFalse();
                bench.step(bench.handle);
                assertThat(bench.isRepeated(bench.handle)).isTrue();
                bench.asyncStep();
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.stream)).isTrue();
                assertThat(bench.handle.isRepeatedCombine(bench.buffers, bench.stream)).isTrue();
                event.happens.accept(bench);
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.stream)).isFalse();
                assertThat(bench.handle.isRepeatedCombine(bench.buffers, bench.stream)).isFalse();
            }
        });
    }

    @Test
    void looksAtWhatIsNotTheSame(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench bench = new Bench(rank)) {
                bench.step(bench.handle);
                EpHandle handle = bench.handle;
                assertThat(bench.isRepeated(bench.second)).isFalse();
                assertThat(handle.isRepeatedUpdate(bench.buffers.routing(), bench.other)).isFalse();
                assertThat(handle.isRepeatedUpdate(bench.buffers.tokens(), bench.stream)).isFalse();
                assertThat(handle.isRepeatedUpdate(bench.buffers.routing(), bench.info, bench.stream)).isFalse();
                assertThat(handle.isRepeatedDispatch(bench.inputs, bench.outputs, bench.stream)).isFalse();
                assertThat(handle.isRepeatedDispatch(bench.inputs, bench.outputs, null, bench.stream)).isFalse();
                assertThat(handle.isRepeatedDispatch(bench.inputs, bench.outputs, bench.info, bench.other)).isFalse();
                assertThat(handle.isRepeatedDispatch(DispatchInputs.of(bench.buffers.combined()), bench.outputs,
                        bench.info, bench.stream)).isFalse();
                assertThat(handle.isRepeatedDispatch(bench.inputs, DispatchOutputs.of(bench.buffers.expertOutputs()),
                        bench.info, bench.stream)).isFalse();
                assertThat(handle.isRepeatedDispatch(bench.inputs, bench.outputs, bench.info,
                        DispatchConfig.defaults(), bench.stream)).isFalse();
                assertThat(handle.isRepeatedCombine(bench.combineInputs, bench.combineOutputs, bench.other)).isFalse();
                assertThat(handle.isRepeatedCombine(bench.combineInputs, bench.combineOutputs,
                        CombineConfig.defaults(), bench.stream)).isFalse();
                assertThat(handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.stream)).isFalse();
                assertThat(handle.isRepeatedCombine(bench.buffers, bench.stream)).isFalse();
                onAnotherThread(() -> assertThat(bench.isRepeated(handle)).isFalse());
                assertThat(bench.isRepeated(handle)).isTrue();
            }
        });
    }

    /** What a handle may have kept when a mistake is made. */
    enum Kept {
        UPDATE, FORGOTTEN_UPDATE, COUNTED_DISPATCH, CONFIGURED_DISPATCH, ASYNC;

        void make(Bench b) {
            if (this == ASYNC) {
                b.asyncStep();
                return;
            }
            b.handle.update(b.buffers.routing(), b.stream);
            if (this == FORGOTTEN_UPDATE) {
                b.buffers.routing().rows(TOKENS - 1).rows(TOKENS);
            } else if (this == COUNTED_DISPATCH) {
                b.handle.dispatch(b.inputs, b.outputs, b.info, b.stream);
                b.handle.combine(b.combineInputs, b.combineOutputs, b.stream);
            } else if (this == CONFIGURED_DISPATCH) {
                b.handle.dispatch(b.inputs, b.outputs, b.info, DispatchConfig.defaults(), b.stream);
                b.handle.combine(b.combineInputs, b.combineOutputs, CombineConfig.defaults(), b.stream);
            }
        }
    }

    /** A null is nobody's argument, also where no argument is kept. */
    @ParameterizedTest
    @EnumSource
    @SuppressWarnings("NullAway")
    void nullIsNotTheSameAsNothingKept(Kept kept, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench b = new Bench(rank)) {
                kept.make(b);
                // Each argument that must be there is left out alone and together with others.
                for (int missing = 1; missing < 8; missing++) {
                    boolean first = (missing & 1) == 0;
                    boolean second = (missing & 2) == 0;
                    CudaStream stream = (missing & 4) == 0 ? b.stream : null;
                    DispatchInputs in = first ? b.inputs : null;
                    DispatchOutputs out = second ? b.outputs : null;
                    CombineInputs rows = first ? b.combineInputs : null;
                    CombineOutputs sums = second ? b.combineOutputs : null;
                    List<ThrowingCallable> mistakes = List.of(
                            () -> b.handle.dispatch(in, out, stream), () -> b.handle.dispatch(in, out, null, stream),
                            () -> b.handle.dispatch(in, out, b.info, stream),
                            () -> b.handle.dispatch(in, out, null, null, stream),
                            () -> b.handle.dispatch(in, out, b.info, DispatchConfig.defaults(), stream),
                            () -> b.handle.combine(rows, sums, stream),
                            () -> b.handle.combine(rows, sums, null, stream),
                            () -> b.handle.combine(rows, sums, CombineConfig.defaults(), stream));
                    assertThat(mistakes).allSatisfy(
                            mistake -> assertThatThrownBy(mistake).isInstanceOf(NullPointerException.class));
                    if (second) {
                        EpTensor routing = first ? b.buffers.routing() : null;
                        EpBuffers buffers = first ? b.buffers : null;
                        List<ThrowingCallable> more = List.of(() -> b.handle.update(routing, stream),
                                () -> b.handle.update(routing, null, stream),
                                () -> b.handle.update(routing, b.info, stream),
                                () -> b.handle.dispatchAsync(buffers, TOKENS, stream),
                                () -> b.handle.combineAsync(buffers, stream));
                        assertThat(more).allSatisfy(
                                mistake -> assertThatThrownBy(mistake).isInstanceOf(NullPointerException.class));
                    }
                }
                b.step(b.handle);
                assertThat(b.isRepeated(b.handle)).isTrue();
            }
        });
    }

    /** As in a model, whose layers may share one set of tensors. */
    @Test
    void handlesThatShareTheirArgumentsRepeatTheirCallsSideBySide(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench bench = new Bench(rank)) {
                bench.step(bench.handle);
                bench.step(bench.second);
                assertThat(bench.isRepeated(bench.handle)).isTrue();
                assertThat(bench.isRepeated(bench.second)).isTrue();
                bench.buffers.tokens().rows(TOKENS - 1).rows(TOKENS);
                assertThat(bench.isRepeated(bench.handle)).isFalse();
                assertThat(bench.isRepeated(bench.second)).isFalse();
            }
        });
    }

    /** What a dispatch may leave out; the counters only in high throughput, which has them from the update. */
    enum Dispatch {
        PLAIN(false, false), COUNTED(true, false), CONFIGURED(false, true), COUNTED_AND_CONFIGURED(true, true);

        private final boolean counted;
        private final boolean configured;

        Dispatch(boolean counted, boolean configured) {
            this.counted = counted;
            this.configured = configured;
        }

        private @Nullable LayoutInfo info(EpBuffers buffers) {
            return counted ? buffers.dispatchInfo() : null;
        }

        void call(EpBuffers buffers, CudaStream stream) {
            if (configured) {
                buffers.handle().dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), info(buffers),
                        DispatchConfig.defaults(), stream);
            } else {
                buffers.handle().dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), info(buffers), stream);
            }
        }

        boolean isRepeated(EpBuffers b, CudaStream stream) {
            EpHandle handle = b.handle();
            if (configured) {
                return handle.isRepeatedDispatch(b.dispatchInputs(), b.dispatchOutputs(), info(b),
                        DispatchConfig.defaults(), stream);
            }
            return counted
                    ? handle.isRepeatedDispatch(b.dispatchInputs(), b.dispatchOutputs(), info(b), stream)
                    : handle.isRepeatedDispatch(b.dispatchInputs(), b.dispatchOutputs(), stream);
        }
    }

    /** Every kind, on two sets of tensors in turns and after every other kind: what is made again must be the last, and whole. */
    @ParameterizedTest
    @EnumSource
    void aRepeatedDispatchDoesWhatTheFirstDid(Dispatch kind, EmulatedCluster cluster) {
        EpGroupConfig.Builder config = kind.counted
                ? EpGroupConfig.lowLatency().layout(Layout.EXPERT_MAJOR)
                : EpGroupConfig.highThroughput().layout(Layout.FLAT);
        cluster.run(rank -> {
            try (Arena arena = Arena.ofConfined();
                    Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                    CudaStream stream = CudaStream.create(rank.device());
                    EpGroup group = EpGroup.create(communicator, config.experts(4).maxTokensPerRank(TOKENS)
                            .maxTokenBytes(HIDDEN * Short.BYTES).topK(2).build());
                    EpHandle handle = group.createHandle();
                    EpBuffers buffers = handle.allocateBuffers(HIDDEN, DataType.BFLOAT16);
                    EpBuffers more = handle.allocateBuffers(HIDDEN, DataType.BFLOAT16)) {
                buffers.routing().memory()
                        .copyFrom(arena.allocateFrom(ValueLayout.JAVA_LONG, 0, 1, 0, 1, 0, 1, 0, 1));
                buffers.tokens().memory().fillAsync((byte) 1, stream);
                more.tokens().memory().fillAsync((byte) 2, stream);
                handle.update(buffers.routing(), buffers.updateInfo(), stream);
                for (Dispatch before : Dispatch.values()) {
                    if (before.counted == kind.counted) {
                        before.call(more, stream);
                        kind.call(buffers, stream);
                        assertThat(kind.isRepeated(more, stream)).isFalse();
                        expectRows(kind, buffers, (byte) 1, stream);
                        kind.call(more, stream);
                        expectRows(kind, more, (byte) 2, stream);
                    }
                }
            }
        });
    }

    /** Makes the call again, into cleared memory. */
    private static void expectRows(Dispatch kind, EpBuffers buffers, byte value, CudaStream stream) {
        DeviceMemory received = buffers.received().memory();
        received.fillAsync((byte) 0, stream);
        buffers.expertCounts().memory().fillAsync((byte) 0, stream);
        assertThat(kind.isRepeated(buffers, stream)).isTrue();
        kind.call(buffers, stream);
        stream.await(Duration.ofSeconds(30));
        // A row per token, and with counters one per expert of the token.
        int rows = kind.counted ? 2 * TOKENS : TOKENS;
        byte[] expected = new byte[(int) received.byteSize()];
        Arrays.fill(expected, 0, rows * HIDDEN * Short.BYTES, value);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment actual = arena.allocate(received.byteSize());
            received.copyTo(actual);
            assertThat(actual.toArray(ValueLayout.JAVA_BYTE)).isEqualTo(expected);
            if (kind.counted) {
                MemorySegment counts = arena.allocate(buffers.expertCounts().byteSize());
                buffers.expertCounts().memory().copyTo(counts);
                assertThat(counts.toArray(ValueLayout.JAVA_INT)).containsExactly(TOKENS, TOKENS, 0, 0);
            }
        }
    }

    /** As in a program that makes its structs in each step. */
    @Test
    void structsOfTheSameTensorsAreTheSame(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench bench = new Bench(rank)) {
                EpBuffers b = bench.buffers;
                bench.step(bench.handle);
                assertThat(bench.handle.isRepeatedDispatch(DispatchInputs.of(b.tokens()),
                        DispatchOutputs.of(b.received()), LayoutInfo.of(b.expertCounts()), bench.stream)).isTrue();
                assertThat(bench.handle.isRepeatedCombine(CombineInputs.of(b.expertOutputs()),
                        CombineOutputs.of(b.combined(), b.weights()), bench.stream)).isTrue();
                assertThat(DispatchInputs.of(b.tokens(), b.weights())).isNotSameAs(DispatchInputs.of(b.tokens()))
                        .isSameAs(DispatchInputs.of(b.tokens(), b.weights(), null));
                assertThat(CombineInputs.of(b.tokens())).isNotSameAs(DispatchInputs.of(b.tokens()));
                assertThat(LayoutInfo.builder().expertCounters(b.expertCounts()).expertIds(ExpertIds.GLOBAL).build())
                        .isNotSameAs(bench.info);
                DeviceMemory memory = DeviceMemory.allocate(rank.device(), HIDDEN * Short.BYTES);
                EpTensor weights = EpTensor.of(memory, DataType.BFLOAT16, 1, HIDDEN);
                DispatchInputs closed = DispatchInputs.of(b.tokens(), weights);
                memory.close();
                assertThatThrownBy(() -> DispatchInputs.of(b.tokens(), weights)).hasMessageContaining("closed");
                EpTensor others = EpTensor.of(b.combined().memory(), DataType.BFLOAT16, 1, HIDDEN);
                assertThat(b.tokens().uses()).contains(closed);
                DispatchInputs open = DispatchInputs.of(b.tokens(), others);
                assertThat(b.tokens().uses()).contains(open).doesNotContain(closed);
            }
        });
    }

    @Test
    void callsWithAConfigAreRepeatedWithIt(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench bench = new Bench(rank)) {
                EpHandle handle = bench.handle;
                handle.update(bench.buffers.routing(), bench.stream);
                handle.dispatch(bench.inputs, bench.outputs, bench.info, DispatchConfig.defaults(), bench.stream);
                handle.combine(bench.combineInputs, bench.combineOutputs, CombineConfig.defaults(), bench.stream);
                assertThat(handle.isRepeatedDispatch(bench.inputs, bench.outputs, bench.info,
                        DispatchConfig.defaults(), bench.stream)).isTrue();
                assertThat(handle.isRepeatedDispatch(bench.inputs, bench.outputs, bench.info, bench.stream)).isFalse();
                assertThat(handle.isRepeatedCombine(bench.combineInputs, bench.combineOutputs,
                        CombineConfig.defaults(), bench.stream)).isTrue();
                assertThat(handle.isRepeatedCombine(bench.combineInputs, bench.combineOutputs, bench.stream))
                        .isFalse();
            }
        });
    }

    @Test
    void aCallOfAnotherKindEndsTheRepetitionOnBuffers(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (Bench bench = new Bench(rank)) {
                bench.asyncStep();
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS - 1, bench.stream)).isFalse();
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.other)).isFalse();
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.stream)).isTrue();
                bench.step(bench.handle);
                // The same calls, since the structs are those of the buffers.
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.stream)).isTrue();
                bench.handle.dispatch(DispatchInputs.of(bench.buffers.combined()), bench.outputs, bench.info,
                        bench.stream);
                bench.handle.combine(CombineInputs.of(bench.buffers.received()), bench.combineOutputs, bench.stream);
                assertThat(bench.handle.isRepeatedDispatch(bench.buffers, TOKENS, bench.stream)).isFalse();
                assertThat(bench.handle.isRepeatedCombine(bench.buffers, bench.stream)).isFalse();
            }
        });
    }
}
