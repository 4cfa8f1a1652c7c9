package io.nccl4j.benchmarks.layer;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.Routing;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.MoeRank;

/** A rank's part in a layer that is measured, with the routing in place. Collective to make and to close. */
public final class RankLayer implements AutoCloseable {
    private final Rank rank;
    private final MoeRank moe;
    private final EpHandle handle;
    private final EpBuffers buffers;
    private final LayerCalls calls;
    private final LayerCalls staged;

    public RankLayer(Rank rank, LayerShape shape, Routing routing) {
        this.rank = rank;
        moe = new MoeRank(rank.bootstrap(), rank.device(), shape.groupConfig(), shape.rows());
        handle = moe.own(moe.group().createHandle());
        buffers = moe.own(handle.allocateBuffers(shape.rows()));
        calls = LayerCalls.of(buffers);
        staged = calls.staged();
        load(routing.of(rank.number()));
        if (shape.rows().combineRecipe() == CombineRecipe.NVFP4) {
            fillScales();
        }
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

    /** This rank. */
    public Rank rank() {
        return rank;
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
        staged.dispatch(handle, stream());
    }

    /** Combine in two halves. */
    public void stagedCombine() {
        staged.combine(handle, stream());
    }

    /** Waits for the device; in one native call, since a wait with a limit polls. */
    public void synchronize() {
        stream().synchronize();
    }

    /** Waits for the other ranks; on the host alone. */
    public void barrier() {
        rank.bootstrap().barrier();
    }

    @Override
    public void close() {
        barrier();
        moe.close();
    }
}
