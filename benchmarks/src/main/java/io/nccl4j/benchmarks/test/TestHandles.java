package io.nccl4j.benchmarks.test;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.HandleConfig;
import java.util.ArrayDeque;
import java.util.Deque;

/** The handles of a case, with the memory they live in where that is the caller's. */
final class TestHandles implements AutoCloseable {
    private final Deque<EpHandle> handles = new ArrayDeque<>();
    private final Deque<DeviceMemory> blocks = new ArrayDeque<>();

    TestHandles(CellCase of, EpGroup group) {
        try {
            for (int i = 0; i < of.handles(); i++) {
                HandleConfig config = of.handleConfig();
                if (of.callersMemory()) {
                    long bytes = group.handleMemoryBytes(of.cell().shape().layout(), of.shape().topK());
                    blocks.add(DeviceMemory.allocate(group.device(), bytes));
                    config = config.memory(blocks.getLast());
                }
                handles.add(group.createHandle(of.cell().shape().layout(), of.shape().topK(), config));
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /** The handle whose turn it is. */
    EpHandle next() {
        handles.addLast(handles.removeFirst());
        return handles.getLast();
    }

    @Override
    public void close() {
        handles.forEach(EpHandle::close);
        blocks.forEach(DeviceMemory::close);
    }
}
