package io.nccl4j.examples.moe.bench;

import java.util.ArrayList;
import java.util.List;

/** Threads that allocate without end: the rest of a busy JVM. */
final class BusyThreads implements AutoCloseable {
    private final List<Thread> threads = new ArrayList<>();
    private volatile boolean ended;

    BusyThreads(int count) {
        for (int i = 0; i < count; i++) {
            threads.add(Thread.ofPlatform().daemon().name("busy-" + i).start(this::allocate));
        }
    }

    private void allocate() {
        byte[][] kept = new byte[256][];
        for (int i = 0; !ended; i++) {
            kept[i % kept.length] = new byte[16_384];
        }
    }

    @Override
    public void close() {
        ended = true;
        for (Thread thread : threads) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
