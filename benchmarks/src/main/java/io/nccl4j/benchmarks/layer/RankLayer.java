package io.nccl4j.benchmarks.layer;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.Routing;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.function.UnaryOperator;

/** A rank's part in a layer that is measured, with the routing in place. Collective to make and to close. */
public final class RankLayer implements AutoCloseable {
    /** Of {@link #single}. */
    public static final int TOKENS = 128;
    private static final LayerShape SINGLE = LayerShape.bfloat16(LayerKind.LL_EXPERT_MAJOR, 1, 8, 8, TOKENS, 7168);

    private final MoeRank moe;
    private final EpHandle handle;
    private final EpBuffers buffers;
    private final LayerCalls calls;
    private final DispatchConfig stagedDispatch;
    private final CombineConfig stagedCombine;

    public RankLayer(Rank rank, LayerShape shape, Routing routing) {
        this(rank.bootstrap(), rank.device(), shape.groupConfig(), shape.rows());
        load(routing.of(rank.number()));
        if (shape.rows().combineRecipe() == CombineRecipe.NVFP4) {
            fillScales();
        }
    }

    private RankLayer(Bootstrap bootstrap, CudaDevice device, EpGroupConfig config, BufferConfig rows) {
        moe = new MoeRank(bootstrap, device, config, rows);
        handle = own(moe.group().createHandle());
        buffers = own(handle.allocateBuffers(rows));
        calls = LayerCalls.of(buffers);
        stagedDispatch = buffers.dispatchConfig().sendOnly();
        stagedCombine = buffers.combineConfig().sendOnly();
    }

    /**
     * A low-latency layer of a single rank that routes nothing: the device has next to nothing to do, the time is the
     * host's.
     *
     * @param more changes the configuration of the group
     */
    public static RankLayer single(UnaryOperator<EpGroupConfig> more) {
        return new RankLayer(Bootstraps.inProcess(1).getFirst(), CudaDevice.of(0), more.apply(SINGLE.groupConfig()),
                SINGLE.rows());
    }

    /** Closes something with it, before the rest. */
    public <T extends AutoCloseable> T own(T resource) {
        return moe.own(resource);
    }

    private void load(int[][] routing) {
        try (HostMirror experts = new HostMirror(buffers.routing());
                HostMirror weights = new HostMirror(buffers.weights())) {
            experts.host().fill((byte) -1);
            int topK = handle.topK();
            for (int at = 0; at < routing.length * topK; at++) {
                experts.host().setAtIndex(JAVA_LONG, at, routing[at / topK][at % topK]);
                weights.host().setAtIndex(JAVA_FLOAT, at, 1f / topK);
            }
            experts.toDevice(stream());
            weights.toDevice(stream());
            synchronize();
        }
    }

    private void fillScales() {
        try (HostMirror scales = new HostMirror(buffers.expertOutputScales())) {
            for (long at = 0; at < scales.host().byteSize() / Float.BYTES; at++) {
                scales.host().setAtIndex(JAVA_FLOAT, at, 1);
            }
            scales.toDevice(stream());
            synchronize();
        }
    }

    public EpGroup group() {
        return moe.group();
    }

    public EpHandle handle() {
        return handle;
    }

    /** The explicit calls on the buffers. */
    public LayerCalls calls() {
        return calls;
    }

    public Communicator communicator() {
        return moe.communicator();
    }

    public CudaStream stream() {
        return moe.stream();
    }

    public EpBuffers buffers() {
        return buffers;
    }

    public void update() {
        calls.update(handle, stream());
    }

    public void dispatch() {
        calls.dispatch(handle, stream());
    }

    public void combine() {
        calls.combine(handle, stream());
    }

    /** Dispatch in two halves. */
    public void stagedDispatch() {
        handle.dispatch(calls.inputs(), calls.outputs(), calls.dispatchInfo(), stagedDispatch, stream());
        handle.complete();
    }

    /** Combine in two halves. */
    public void stagedCombine() {
        handle.combine(calls.combineInputs(), calls.combineOutputs(), stagedCombine, stream());
        handle.complete();
    }

    /** Waits for the device; in one native call, since a wait with a limit polls. */
    public void synchronize() {
        stream().synchronize();
    }

    /** Waits for the other ranks; on the host alone. */
    public void barrier() {
        moe.bootstrap().barrier();
    }

    @Override
    public void close() {
        barrier();
        moe.close();
    }
}
