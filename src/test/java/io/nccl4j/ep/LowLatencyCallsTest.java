package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The explicit calls of low latency: halves, recipes, other routing tensors. */
@EmulatedRanks(4)
class LowLatencyCallsTest {
    private static final LayerKind EXPERTS = LayerKind.LL_EXPERT_MAJOR;

    private static EpCase draw(LayerKind kind) {
        CaseSeeds seeds = CaseSeeds.fresh("LowLatencyCallsTest " + kind);
        return EpCase.draw(kind.space(4), seeds.seed());
    }

    /** A step in halves. */
    private static void stagedStep(MoeLayer layer, long tokens, CudaStream stream) {
        EpBuffers buffers = layer.buffers();
        buffers.prepare(layer.handle(), tokens);
        layer.handle().update(buffers.callRouting(), stream);
        sendOnly(layer, stream);
        layer.handle().complete();
        layer.experts();
        layer.handle().combine(buffers.combineInputs(), buffers.combineOutputs(), CombineConfig.defaults().sendOnly(),
                stream);
        layer.handle().complete();
    }

    private static void sendOnly(MoeLayer layer, CudaStream stream) {
        EpBuffers buffers = layer.buffers();
        layer.handle().dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(),
                DispatchConfig.defaults().sendOnly(), stream);
    }

    @EachLowLatencyKind
    void halvesMakeAWhole(LayerKind kind, EmulatedCluster cluster) {
        EpCase first = draw(kind);
        MoeRank.run(cluster, kind, first, (moe, layer) -> {
            moe.checkStep(layer, first, tokens -> stagedStep(layer, tokens, moe.stream()));
            try (CudaGraph graph = moe.stream()
                    .capture(() -> stagedStep(layer, layer.buffers().maxTokens(), moe.stream()));
                    CudaGraphExec exec = graph.instantiate()) {
                for (int step = 1; step < 10; step++) {
                    moe.checkStep(layer, first.redraw(kind.routings()[step % 5], first.seed() + step),
                            tokens -> exec.launch(moe.stream()));
                }
            }
        });
    }

    @Test
    void completeDoesNothingWithoutAFirstHalf(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        MoeRank.run(cluster, EXPERTS, first, (moe, layer) -> {
            moe.checkStep(layer, first, tokens -> {
                layer.handle().complete();
                layer.enqueue(tokens);
                layer.handle().complete();
            });
        });
    }

    @Test
    void aPendingHalfKeepsItsHandleOpen(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        MoeRank.run(cluster, EXPERTS, first, (moe, layer) -> {
            EpBuffers buffers = layer.buffers();
            moe.checkStep(layer, first, tokens -> {
                buffers.prepare(layer.handle(), tokens);
                layer.handle().update(buffers.callRouting(), moe.stream());
                sendOnly(layer, moe.stream());
                EpHandle other = moe.group().createHandle();
                other.update(buffers.callRouting(), moe.stream());
                assertIllegalState(() -> other.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(),
                        buffers.dispatchInfo(), moe.stream()), "send half is pending");
                other.complete();
                other.close();
                assertIllegalState(() -> moe.stream().capture(layer.handle()::complete), "outside of");
                layer.handle().complete();
                layer.experts();
                layer.handle().combine(buffers.combineInputs(), buffers.combineOutputs(), moe.stream());
            });
        });
    }

    @Test
    void aFailedCaptureLeavesNoHalfPending(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        MoeRank.run(cluster, EXPERTS, first, (moe, layer) -> {
            moe.checkStep(layer, first, tokens -> {
                layer.buffers().prepare(layer.handle(), tokens);
                layer.handle().update(layer.buffers().callRouting(), moe.stream());
                assertIllegalState(() -> moe.stream().capture(() -> sendOnly(layer, moe.stream())),
                        "complete it in the same capture");
                assertThat(moe.stream().isCapturing()).isFalse();
                layer.enqueue(tokens);
            });
        });
    }

    @Test
    void routingMayBeInt32AndComeWithTheHandle(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        MoeRank.run(cluster, EXPERTS, first, (moe, layer) -> {
            DeviceMemory memory = moe
                    .own(DeviceMemory.allocate(moe.device(), 4L * first.shape().maxTokens() * first.shape().topK()));
            EpTensor routing = EpTensor.of(memory, DataType.INT32, first.shape().maxTokens(), first.shape().topK());
            try (HostMirror host = new HostMirror(routing)) {
                long at = 0;
                for (int[] row : first.inputs().routing().of(moe.rank())) {
                    for (int expert : row) {
                        host.integer(at++, expert);
                    }
                }
                host.toDevice(moe.stream());
                moe.await();
            }
            moe.checkStep(layer, first, tokens -> {
                layer.buffers().prepare(layer.handle(), tokens);
                layer.handle().update(routing.rows(tokens), moe.stream());
                dispatchAndCombine(layer, layer.handle(), moe.stream());
            });
            moe.checkStep(layer, first, tokens -> {
                EpHandle made = moe.own(moe.group().createHandle(Layout.EXPERT_MAJOR, routing, null,
                        HandleConfig.defaults(), moe.stream()));
                assertThat(made.tokens()).isEqualTo(tokens);
                dispatchAndCombine(layer, made, moe.stream());
            });
        });
    }

    private static void dispatchAndCombine(MoeLayer layer, EpHandle handle, CudaStream stream) {
        EpBuffers buffers = layer.buffers();
        handle.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(), stream);
        layer.experts();
        handle.combine(buffers.combineInputs(), buffers.combineOutputs(), stream);
    }

    @ParameterizedTest
    @EnumSource(value = DispatchRecipe.class, names = {"QUANT_FWD", "DS_FP8E3M4"})
    void recipesCarryScales(DispatchRecipe recipe, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh("LowLatencyCallsTest " + recipe);
        EpCase batch = EpCase.draw(CaseSpace.lowLatency(4).withRanks(4).withFormat(NumberFormat.BFLOAT16)
                .withHidden(512, 1024).withRoutings(RoutingKind.UNIFORM, RoutingKind.HOLES), seeds.seed());
        int hidden = batch.hidden();
        new ExplicitCalls(EXPERTS, batch).rows(rows -> recipe == DispatchRecipe.QUANT_FWD
                ? rows.forwarding(DataType.FLOAT8_E4M3, hidden, DataType.FLOAT32, hidden / 128)
                : rows.blockScaledFp8(true)).run(cluster);
    }

    @Test
    void zeroCopyWritesIntoTheWindow(EmulatedCluster cluster) {
        new ExplicitCalls(LayerKind.LL_RANK_MAJOR, draw(LayerKind.LL_RANK_MAJOR))
                .config(more -> more.zeroCopy(ZeroCopy.ON)).windows().run(cluster);
    }
}
