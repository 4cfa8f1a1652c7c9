package io.nccl4j.ep.graphs;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.EpCase;
import java.time.Duration;

/** One rank: its communicator, stream and group, and the case that names their shape. */
final class MoeRank implements AutoCloseable {
    static final Duration LIMIT = Duration.ofSeconds(20);

    private final EmulatedRank rank;
    private final LayerKind kind;
    private final Quantisation quantisation;
    private final EpCase model;
    private final Communicator communicator;
    private final CudaStream stream;
    private final EpGroup group;

    MoeRank(EmulatedRank rank, LayerKind kind, EpCase model) {
        this(rank, kind, model, kind.config(model).build());
    }

    MoeRank(EmulatedRank rank, LayerKind kind, EpCase model, EpGroupConfig config) {
        this(rank, kind, Quantisation.PLAIN, model, config);
    }

    MoeRank(EmulatedRank rank, LayerKind kind, Quantisation quantisation, EpCase model, EpGroupConfig config) {
        this.rank = rank;
        this.kind = kind;
        this.quantisation = quantisation;
        this.model = model;
        this.communicator = Communicator.init(rank.bootstrap(), rank.device());
        this.stream = CudaStream.create(rank.device());
        this.group = EpGroup.create(communicator, config);
    }

    EmulatedRank rank() {
        return rank;
    }

    LayerKind kind() {
        return kind;
    }

    EpCase model() {
        return model;
    }

    CudaStream stream() {
        return stream;
    }

    EpGroup group() {
        return group;
    }

    /** A layer of its own handle, in the quantisation of the rank. */
    MoeLayer layer() {
        EpHandle handle = group.createHandle();
        return new MoeLayer(this, quantisation, handle.allocateBuffers(quantisation.buffers(model)), true);
    }

    @Override
    public void close() {
        group.close();
        stream.close();
        communicator.close();
    }
}
