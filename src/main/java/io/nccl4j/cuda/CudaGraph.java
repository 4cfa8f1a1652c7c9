package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Captured work, {@code cudaGraph_t}: a template for {@link CudaGraphExec}. Keeps everything that the work uses from
 * being closed.
 *
 * <p>Belongs to one thread, at first the one that made it; {@link #bindToCurrentThread} moves it.
 */
public final class CudaGraph extends ConfinedResource {
    private final CaptureScope captured;

    CudaGraph(long address, CudaDevice device, CaptureScope captured) {
        super("CudaGraph", address, device, true, captured.touched().toArray(NativeObject[]::new));
        this.captured = captured;
        captured.use();
    }

    /**
     * Makes an executable graph, {@code cudaGraphInstantiate}. Expensive; outside of the hot path.
     *
     * @return the executable graph
     * @throws IllegalStateException after close, during a capture, or if this belongs to another thread
     * @throws CudaException if the device has failed or has too little memory
     */
    public CudaGraphExec instantiate() {
        CaptureScope.refuse("CudaGraph.instantiate", "instantiate after the capture");
        checkThread("CudaGraph.instantiate");
        device().checkUsable();
        long address = device().create("cudaGraphInstantiate",
                out -> CudaRuntime.cudaGraphInstantiate(out, pointer(), 0));
        return new CudaGraphExec(address, device(), captured);
    }

    /**
     * {@return number of nodes, {@code cudaGraphGetNodes}}
     *
     * @throws IllegalStateException after close, or if this belongs to another thread
     */
    public long nodeCount() {
        checkThread("CudaGraph.nodeCount");
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            device().check(CudaRuntime.cudaGraphGetNodes(pointer(), MemorySegment.NULL, out), "cudaGraphGetNodes");
            return out.get(JAVA_LONG, 0);
        }
    }

    @Override
    void released() {
        captured.release();
    }

    /** A graph is a description; nothing in flight needs it. */
    @Override
    boolean awaitLastUse(Deadline deadline) {
        return true;
    }

    @Override
    void destroy(MemorySegment self) {
        device().check(CudaRuntime.cudaGraphDestroy(self), "cudaGraphDestroy");
    }
}
