package io.nccl4j.nccl;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.Ownership;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.ObjIntConsumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * An all-gather of a text of the host on a communicator. Through pinned memory, which NCCL takes like the device's
 * own, so that it also works where the device has no memory left: that is what ranks have to tell each other here. The
 * memory and its stream are kept until the communicator is closed: to give them back could wait for other work.
 */
final class HostExchange {
    /** Of each rank, ending with a NUL. */
    private static final int BYTES = 1024;

    /** Of lost communicators: whatever is closed on their devices must know of their streams, and not wait for them. */
    private static final Queue<HostExchange> KEPT = new ConcurrentLinkedQueue<>();

    private final List<NativeObject> made = new CopyOnWriteArrayList<>();
    private volatile @Nullable CudaStream stream;
    private @Nullable PinnedMemory memory;
    private volatile boolean busy;

    private final CudaDevice device;
    private final int ranks;

    /** On a communicator of so many ranks. */
    HostExchange(CudaDevice device, int ranks) {
        this.device = device;
        this.ranks = ranks;
    }

    /**
     * Waits for all ranks, without a limit: to be called as a collective call of the communicator.
     *
     * @param check throws for what the function of this name has answered
     */
    List<String> run(long communicator, String mine, ObjIntConsumer<String> check) {
        busy = true;
        try {
            return gather(communicator, mine, check);
        } finally {
            busy = false;
        }
    }

    private synchronized List<String> gather(long communicator, String mine, ObjIntConsumer<String> check) {
        CudaStream queue = stream;
        if (queue == null) {
            queue = CudaStream.create(device);
            made.add(queue);
            stream = queue;
        }
        PinnedMemory both = memory;
        if (both == null) {
            both = PinnedMemory.allocate(device, (1L + ranks) * BYTES);
            made.add(both);
            memory = both;
        }
        MemorySegment send = both.segment().asSlice(0, BYTES);
        MemorySegment receive = both.segment().asSlice(BYTES);
        byte[] text = mine.getBytes(StandardCharsets.UTF_8);
        MemorySegment.copy(text, 0, send.fill((byte) 0), JAVA_BYTE, 0, Math.min(text.length, BYTES - 1));
        check.accept("ncclAllGather", Nccl.ncclAllGather(send, receive, BYTES, DataType.UINT8.code(),
                MemorySegment.ofAddress(communicator), MemorySegment.ofAddress(queue.address())));
        queue.synchronize();
        return IntStream.range(0, ranks).mapToObj(rank -> receive.getString((long) rank * BYTES)).toList();
    }

    /**
     * Gives everything back.
     *
     * @param lost whether the communicator is: then something may be under way that never ends, and all of it stays
     */
    void close(boolean lost, Deadline deadline) {
        if (busy || lost) {
            KEPT.add(this);
            return;
        }
        CudaStream queue = stream;
        if (queue != null) {
            queue.bindToCurrentThread();
        }
        Ownership.closeAll(made, deadline);
    }
}
