package io.nccl4j.benchmarks.layer;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.ranks.HostMirror;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGeneration;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.Communicator;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** A rank's part in a layer: its group, handle and buffers, with the routing in place. Collective to make and to close. */
public final class RankLayer implements AutoCloseable {
    private final LayerShape shape;
    private final Rank rank;
    private final Communicator communicator;
    private final CudaStream stream;
    private final EpGroup group;
    private final EpHandle handle;
    private final EpBuffers buffers;
    private final @Nullable LayoutInfo updateInfo;
    private final @Nullable LayoutInfo dispatchInfo;
    private final QuantisedTensors quantised;
    private final DispatchConfig dispatchConfig;
    private final CombineConfig combineConfig;
    private final DispatchInputs dispatchInputs;
    private final DispatchOutputs dispatchOutputs;
    private final CombineInputs combineInputs;
    private final CombineOutputs combineOutputs;

    public RankLayer(Rank rank, DrawnRouting routing) {
        this.rank = rank;
        shape = routing.shape();
        communicator = Communicator.init(rank.bootstrap(), rank.device());
        stream = CudaStream.create(rank.device());
        group = EpGroup.create(communicator, shape.groupConfig());
        handle = group.createHandle();
        buffers = handle.allocateBuffers(BufferConfig.of(shape.hidden(), shape.type()));
        LayoutInfo info = info();
        updateInfo = shape.isLowLatency() ? null : info;
        dispatchInfo = shape.isLowLatency() ? info : null;
        // Low latency expert-major takes the weights in combine, the others in dispatch.
        boolean weighted = shape.isLowLatency() && shape.rowPerExpert();
        EpTensor weights = weighted ? null : buffers.weights();
        EpTensor receivedWeights = weighted ? null : buffers.receivedWeights();
        EpTensor indices = shape.rowPerExpert() ? null : buffers.receivedIndices();
        quantised = new QuantisedTensors(shape, buffers, rank.device());
        dispatchInputs = DispatchInputs.of(quantised.sent(), weights, quantised.sentScales());
        dispatchOutputs = DispatchOutputs.of(quantised.received(), receivedWeights, indices,
                quantised.receivedScales());
        combineInputs = CombineInputs.of(buffers.expertOutputs(), null, quantised.combineScales());
        combineOutputs = CombineOutputs.of(buffers.combined(), weighted ? buffers.weights() : null);
        dispatchConfig = shape.payload().dispatchConfig();
        combineConfig = shape.payload().combineConfig();
        load(routing);
    }

    private LayoutInfo info() {
        LayoutInfo.Builder info = LayoutInfo.builder();
        if (shape.layout() == Layout.RANK_MAJOR) {
            return info.sourceRankCounters(buffers.sourceRankCounts()).build();
        }
        info.expertCounters(buffers.expertCounts());
        if (!shape.isLowLatency()) {
            info.receivedTotal(buffers.receivedTotal());
            if (shape.rowPerExpert()) {
                info.expertOffsets(buffers.expertOffsets());
            }
        }
        return info.build();
    }

    private void load(DrawnRouting routing) {
        try (HostMirror experts = new HostMirror(buffers.routing(), rank.device());
                HostMirror weights = new HostMirror(buffers.weights(), rank.device())) {
            MemorySegment ids = experts.host();
            MemorySegment shares = weights.host();
            for (int token = 0; token < shape.tokens(); token++) {
                for (int k = 0; k < shape.topK(); k++) {
                    long at = (long) token * shape.topK() + k;
                    ids.setAtIndex(JAVA_LONG, at, routing.expert(rank.number(), token, k));
                    shares.setAtIndex(JAVA_FLOAT, at, 1f / shape.topK());
                }
            }
            experts.toDevice(stream);
            weights.toDevice(stream);
            synchronize();
        }
    }

    public LayerShape shape() {
        return shape;
    }

    /** This rank. */
    public Rank rank() {
        return rank;
    }

    public Communicator communicator() {
        return communicator;
    }

    public CudaStream stream() {
        return stream;
    }

    /** Generation of the library. */
    public EpGeneration generation() {
        return group.generation();
    }

    public EpBuffers buffers() {
        return buffers;
    }

    public void update() {
        handle.update(buffers.routing(), updateInfo, stream);
    }

    public void dispatch() {
        handle.dispatch(dispatchInputs, dispatchOutputs, dispatchInfo, dispatchConfig, stream);
    }

    public void combine() {
        handle.combine(combineInputs, combineOutputs, combineConfig, stream);
    }

    /** Dispatch in two halves. */
    public void stagedDispatch() {
        handle.dispatch(dispatchInputs, dispatchOutputs, dispatchInfo, dispatchConfig.sendOnly(), stream);
        handle.complete();
    }

    /** Combine in two halves. */
    public void stagedCombine() {
        handle.combine(combineInputs, combineOutputs, combineConfig.sendOnly(), stream);
        handle.complete();
    }

    /** Waits for the device; in one native call, since a wait with a limit polls. */
    public void synchronize() {
        stream.synchronize();
    }

    /** Waits for the other ranks; on the host alone. */
    public void barrier() {
        rank.bootstrap().barrier();
    }

    @Override
    public void close() {
        barrier();
        quantised.close();
        buffers.close();
        handle.close();
        group.close();
        stream.close();
        communicator.close();
    }
}
