package io.nccl4j.benchmarks.ranks;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpTensor;
import java.lang.foreign.MemorySegment;

/** A tensor on the device and as much pinned host memory, to copy between in stream order. */
public final class HostMirror implements AutoCloseable {
    private final DeviceMemory device;
    private final PinnedMemory host;

    public HostMirror(EpTensor tensor, CudaDevice owner) {
        // A tensor in a window need not start where its memory does.
        device = tensor.memory().slice(tensor.address() - tensor.memory().address(), tensor.byteSize());
        host = PinnedMemory.allocate(owner, tensor.byteSize());
    }

    /** The host's side. */
    public MemorySegment host() {
        return host.segment();
    }

    /** Enqueues a copy of all of it to the device. */
    public void toDevice(CudaStream stream) {
        toDevice(device.byteSize(), stream);
    }

    /** Enqueues a copy of the first bytes to the device. */
    public void toDevice(long bytes, CudaStream stream) {
        device.copyFromAsync(host, bytes, stream);
    }

    /** Enqueues a copy of all of it to the host. */
    public void toHost(CudaStream stream) {
        device.copyToAsync(host, device.byteSize(), stream);
    }

    @Override
    public void close() {
        host.close();
        device.close();
    }
}
