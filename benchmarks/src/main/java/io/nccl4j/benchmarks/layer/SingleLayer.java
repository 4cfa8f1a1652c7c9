package io.nccl4j.benchmarks.layer;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.function.UnaryOperator;

/**
 * A low-latency layer of a single rank that routes nothing: the device has next to nothing to do, the time is the
 * host's.
 */
public final class SingleLayer implements AutoCloseable {
    public static final int TOKENS = 128;
    private static final LayerShape SHAPE = LayerShape.bfloat16(LayerKind.LL_EXPERT_MAJOR, 1, 8, 8, TOKENS, 7168);

    private final MoeRank rank;
    private final EpHandle handle;
    private final EpBuffers buffers;
    private final LayerCalls calls;

    public SingleLayer() {
        this(config -> config);
    }

    /** @param more changes the configuration of the group */
    public SingleLayer(UnaryOperator<EpGroupConfig> more) {
        EpGroupConfig config = SHAPE.kind().config(SHAPE.sizes(), (int) SHAPE.dispatchBytes());
        rank = new MoeRank(Bootstraps.inProcess(1).getFirst(), CudaDevice.of(0), more.apply(config), SHAPE.rows());
        handle = rank.own(rank.group().createHandle());
        buffers = rank.own(handle.allocateBuffers(SHAPE.rows()));
        calls = LayerCalls.of(buffers);
    }

    public EpGroup group() {
        return rank.group();
    }

    public CudaStream stream() {
        return rank.stream();
    }

    public EpHandle handle() {
        return handle;
    }

    public EpBuffers buffers() {
        return buffers;
    }

    /** The explicit calls on the buffers. */
    public LayerCalls calls() {
        return calls;
    }

    /** Closes something with it, before the rest. */
    public <T extends AutoCloseable> T own(T resource) {
        return rank.own(resource);
    }

    @Override
    public void close() {
        rank.close();
        rank.bootstrap().close();
    }
}
