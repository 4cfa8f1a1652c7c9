package io.nccl4j.benchmarks.patterns;

import io.nccl4j.benchmarks.layer.SingleLayer;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;

/**
 * The work of a layer: attention, dispatch, experts, combine. Attention and experts are small memory operations in
 * place of kernels.
 */
final class LayerWork implements AutoCloseable {
    final SingleLayer layer;
    final CudaStream stream;
    private final DeviceMemory scratch;
    private final int kernels;

    /**
     * @param kernels of attention, and as many of the experts
     * @param visible whether the emulator's log shows what the library allocates, which takes longer
     */
    LayerWork(int kernels, boolean visible) {
        this.kernels = kernels;
        CudaDevice device = CudaDevice.of(0);
        layer = new SingleLayer(config -> visible ? config.allocator(new VisibleAllocator(device)) : config);
        stream = layer.stream();
        scratch = layer.own(DeviceMemory.allocate(device, 256));
        layer.handle().warmUp(layer.buffers(), SingleLayer.TOKENS, stream);
    }

    /** Attention, or the experts. */
    void compute(CudaStream on) {
        for (int i = 0; i < kernels; i++) {
            scratch.fillAsync((byte) i, on);
        }
    }

    void dispatch(CudaStream on) {
        layer.handle().dispatchAsync(layer.buffers(), SingleLayer.TOKENS, on);
    }

    void combine(CudaStream on) {
        layer.handle().combineAsync(layer.buffers(), on);
    }

    @Override
    public void close() {
        layer.close();
    }
}
