package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;

/**
 * Captured work, {@code cudaGraph_t}: a template for {@link CudaGraphExec}. Keeps everything that the work uses from being closed.
 */
public final class CudaGraph extends DeviceResource {
    private final GraphContents contents;

    CudaGraph(long address, CudaDevice device, GraphContents contents) {
        super("CudaGraph", address, device, true, contents.resources().toArray(NativeObject[]::new));
        this.contents = contents;
        contents.use();
    }

    /** Makes an executable graph, {@code cudaGraphInstantiate}. Expensive; outside of the hot path. */
    public CudaGraphExec instantiate() {
        CaptureScope.refuse("CudaGraph.instantiate", "instantiate after the capture");
        device().checkUsable();
        MemorySegment self = segment();
        long address = device().call(() -> {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment out = arena.allocate(ADDRESS);
                device().check(CudaRuntime.cudaGraphInstantiate(out, self, 0), "cudaGraphInstantiate");
                return out.get(ADDRESS, 0).address();
            }
        });
        return new CudaGraphExec(address, device(), contents);
    }

    /** Number of nodes, {@code cudaGraphGetNodes}. */
    public long nodeCount() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            device().check(CudaRuntime.cudaGraphGetNodes(segment(), MemorySegment.NULL, out), "cudaGraphGetNodes");
            return out.get(JAVA_LONG, 0);
        }
    }

    /** Writes a description in Graphviz's format, {@code cudaGraphDebugDotPrint}. */
    public void writeDot(Path file) {
        try (Arena arena = Arena.ofConfined()) {
            device().check(CudaRuntime.cudaGraphDebugDotPrint(segment(), arena.allocateFrom(file.toString()),
                    CudaRuntime.cudaGraphDebugDotFlagsVerbose()), "cudaGraphDebugDotPrint");
        }
    }

    GraphContents contents() {
        return contents;
    }

    MemorySegment segment() {
        return MemorySegment.ofAddress(address());
    }

    @Override
    void released() {
        contents.release();
    }

    /** A graph is a description; nothing in flight needs it. */
    @Override
    boolean awaitLastUse(Deadline deadline) {
        return true;
    }

    @Override
    void destroy(long address) {
        device().check(CudaRuntime.cudaGraphDestroy(MemorySegment.ofAddress(address)), "cudaGraphDestroy");
    }
}
