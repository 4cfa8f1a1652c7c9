package io.nccl4j.benchmarks.patterns;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;

/**
 * The work of a layer on one rank: attention, dispatch, experts, combine. Attention and experts are small memory operations in place of
 * kernels, and no token is routed, so that the device does next to nothing and the time is the host's.
 */
final class LayerWork implements AutoCloseable {
    static final int TOKENS = 128;
    private static final int EXPERTS = 8;
    private static final int TOP_K = 8;
    private static final int HIDDEN = 7168;

    final CudaStream stream;
    final EpGroup group;
    final EpHandle handle;
    final EpBuffers buffers;
    final LayoutInfo layoutInfo;
    final DispatchInputs dispatchInputs;
    final DispatchOutputs dispatchOutputs;
    final CombineInputs combineInputs;
    final CombineOutputs combineOutputs;
    private final Bootstrap bootstrap;
    private final Communicator communicator;
    private final DeviceMemory scratch;
    private final int kernels;

    /**
     * @param kernels of attention, and as many of the experts
     * @param visible whether the emulator's log shows what the library allocates, which takes longer
     */
    LayerWork(int kernels, boolean visible) {
        this.kernels = kernels;
        CudaDevice device = CudaDevice.of(0);
        bootstrap = Bootstraps.inProcess(1).getFirst();
        communicator = Communicator.init(bootstrap, device);
        stream = CudaStream.create(device);
        scratch = DeviceMemory.allocate(device, 256);
        EpGroupConfig.Builder config = EpGroupConfig.lowLatency().experts(EXPERTS).maxTokensPerRank(TOKENS)
                .maxTokenBytes(HIDDEN * Short.BYTES).layout(Layout.EXPERT_MAJOR).topK(TOP_K);
        group = EpGroup.create(communicator,
                visible ? config.allocator(new VisibleAllocator(device)).build() : config.build());
        handle = group.createHandle();
        buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.BFLOAT16));
        layoutInfo = LayoutInfo.of(buffers.expertCounts());
        dispatchInputs = DispatchInputs.of(buffers.tokens());
        dispatchOutputs = DispatchOutputs.of(buffers.received());
        combineInputs = CombineInputs.of(buffers.expertOutputs());
        combineOutputs = CombineOutputs.of(buffers.combined(), buffers.weights());
        handle.warmUp(buffers, TOKENS, stream);
    }

    /** Attention, or the experts. */
    void compute(CudaStream on) {
        for (int i = 0; i < kernels; i++) {
            scratch.fillAsync((byte) i, on);
        }
    }

    void dispatch(CudaStream on) {
        handle.dispatchAsync(buffers, TOKENS, on);
    }

    void combine(CudaStream on) {
        handle.combineAsync(buffers, on);
    }

    @Override
    public void close() {
        buffers.close();
        handle.close();
        group.close();
        scratch.close();
        stream.close();
        communicator.close();
        bootstrap.close();
    }
}
