package io.nccl4j.bootstrap;

import java.util.List;
import java.util.stream.IntStream;

/** Ranks that are threads of one process; their stores share a lock, so that all see a value at once. */
final class InProcessStore extends Store {
    private List<InProcessStore> all = List.of(this);

    private InProcessStore(int rank, int size, Object lock) {
        super(rank, size, lock);
    }

    /** One for each of so many ranks. */
    static List<InProcessStore> create(int size) {
        Object lock = new Object();
        List<InProcessStore> all = IntStream.range(0, Math.max(1, size))
                .mapToObj(rank -> new InProcessStore(rank, size, lock)).toList();
        all.forEach(one -> one.all = all);
        return all;
    }

    @Override
    void publish(Frame frame) {
        all.stream().filter(other -> other != this).forEach(other -> other.receive(frame));
    }

    @Override
    void release() {
        // Nothing is open.
    }

    @Override
    public String toString() {
        return "in this process";
    }
}
