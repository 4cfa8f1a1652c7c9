package io.nccl4j.benchmarks.patterns;

import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.testing.LayerCalls;

/**
 * The work of a layer: attention, dispatch, experts, combine. Attention and experts are small memory operations in
 * place of kernels.
 */
final class LayerWork implements AutoCloseable {
    final CudaStream stream;
    final EpBuffers buffers;
    /** The explicit calls on the buffers. */
    final LayerCalls calls;
    private final DeviceMemory scratch;
    private final int kernels;
    private final RankLayer layer;

    /**
     * On a layer that it closes.
     *
     * @param kernels of attention, and as many of the experts
     */
    LayerWork(RankLayer layer, int kernels) {
        this.layer = layer;
        stream = layer.stream();
        buffers = layer.buffers();
        this.kernels = kernels;
        calls = layer.calls();
        scratch = DeviceMemory.allocate(stream.device(), 256);
        handle().warmUp(buffers, buffers.maxTokens(), stream);
    }

    /**
     * A layer of one rank that routes nothing, whose time is the host's.
     *
     * @param kernels of attention, and as many of the experts
     * @param visible whether the emulator's log shows what the library allocates, which takes longer
     */
    static LayerWork empty(int kernels, boolean visible) {
        CudaDevice device = CudaDevice.of(0);
        return new LayerWork(
                RankLayer.single(config -> visible ? config.allocator(new VisibleAllocator(device)) : config), kernels);
    }

    EpHandle handle() {
        return buffers.handle();
    }

    /** Attention, or the experts. */
    void compute(CudaStream on) {
        for (int i = 0; i < kernels; i++) {
            scratch.fillAsync((byte) i, on);
        }
    }

    void dispatch(CudaStream on) {
        handle().dispatchAsync(buffers, buffers.maxTokens(), on);
    }

    void combine(CudaStream on) {
        handle().combineAsync(buffers, on);
    }

    @Override
    public void close() {
        scratch.close();
        layer.close();
    }
}
