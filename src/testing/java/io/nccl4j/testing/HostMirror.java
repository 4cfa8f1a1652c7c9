package io.nccl4j.testing;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpTensor;
import java.lang.foreign.MemorySegment;

/** Pinned host memory beside a tensor that fills its memory, to copy between the two in stream order. */
public final class HostMirror implements AutoCloseable {
    private final DeviceMemory device;
    private final PinnedMemory host;

    /** Allocates the host's side. */
    public HostMirror(EpTensor tensor) {
        device = tensor.memory();
        host = PinnedMemory.allocate(device.device(), tensor.byteSize());
    }

    /** The host's side. */
    public MemorySegment host() {
        return host.segment();
    }

    /** Enqueues a copy of all of it to the device. */
    public void toDevice(CudaStream stream) {
        toDevice(host.byteSize(), stream);
    }

    /** Enqueues a copy of the first bytes to the device. */
    public void toDevice(long bytes, CudaStream stream) {
        device.copyFromAsync(host, bytes, stream);
    }

    /** Enqueues a copy of all of it to the host. */
    public void toHost(CudaStream stream) {
        device.copyToAsync(host, host.byteSize(), stream);
    }

    @Override
    public void close() {
        host.close();
    }
}
