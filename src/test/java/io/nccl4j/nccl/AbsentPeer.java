package io.nccl4j.nccl;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;

/** Rank 0 closes what rank 1 does not close, with a limit of one second; run in a JVM of its own, which has that limit. */
public final class AbsentPeer {
    private AbsentPeer() {
    }

    /** Prints what happened, a line each. */
    public static void main(String[] arguments) {
        CountDownLatch over = new CountDownLatch(1);
        EmulatedCluster.of(2).allowLeaks().limit(Duration.ofSeconds(40)).run(rank -> {
            Communicator communicator = Communicator.init(rank.bootstrap(), rank.device(),
                    CommunicatorOptions.defaults().limit(Duration.ofSeconds(1)));
            DeviceMemory memory = communicator.allocate(4096);
            DeviceMemory second = communicator.allocate(4096);
            Window window = communicator.register(memory);
            if (rank.rank() == 1) {
                over.await();
                return;
            }
            try {
                closeAlone(communicator, memory, second, window);
            } finally {
                over.countDown();
            }
        });
        System.out.println("done");
    }

    private static void closeAlone(Communicator communicator, DeviceMemory memory, DeviceMemory second, Window window) {
        try {
            communicator.register(second);
        } catch (WaitTimeoutException e) {
            System.out.println("register: " + e.getMessage());
        }
        long freed = Emulator.callCount("ncclMemFree");
        long start = System.nanoTime();
        window.close();
        memory.close();
        System.out.println("window closed: " + window.isClosed() + ", memory freed: " + (Emulator.callCount("ncclMemFree") - freed));
        try {
            communicator.abort();
        } catch (IllegalStateException e) {
            System.out.println("abort: " + e.getMessage());
        }
        communicator.close();
        System.out.println("communicator closed: " + communicator.isClosed() + " after "
                + Duration.ofNanos(System.nanoTime() - start).toSeconds() + " s");
    }
}
