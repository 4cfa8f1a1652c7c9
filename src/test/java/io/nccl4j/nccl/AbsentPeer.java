package io.nccl4j.nccl;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;

/**
 * Rank 0 does alone what needs rank 1, and closes, with limits of one second; run in a JVM of its own, which has that
 * limit.
 */
public final class AbsentPeer {
    private AbsentPeer() {
    }

    /** Prints what happened, a line each. */
    public static void main(String[] arguments) {
        runRank0(AbsentPeer::registerAlone);
        runRank0(AbsentPeer::reduceAlone);
        System.out.println("done");
    }

    private static void runRank0(Consumer<Communicator> alone) {
        CountDownLatch over = new CountDownLatch(1);
        EmulatedCluster.of(2).allowLeaks().limit(Duration.ofSeconds(40)).run(rank -> {
            Communicator communicator = Communicator.init(rank.bootstrap(), rank.device(),
                    CommunicatorOptions.defaults().limit(Duration.ofSeconds(1)));
            if (rank.rank() == 1) {
                over.await();
                return;
            }
            try {
                alone.accept(communicator);
            } finally {
                over.countDown();
            }
        });
    }

    private static void registerAlone(Communicator communicator) {
        DeviceMemory memory = communicator.allocate(4096);
        try {
            communicator.register(memory);
        } catch (WaitTimeoutException e) {
            System.out.println("register: " + e.getMessage());
        }
        try {
            communicator.abort();
        } catch (IllegalStateException e) {
            System.out.println("abort: " + e.getMessage());
        }
        long destroyed = Emulator.callCount("ncclCommDestroy");
        memory.close();
        communicator.close();
        System.out.println("after register: closed " + communicator.isClosed() + ", destroyed "
                + (Emulator.callCount("ncclCommDestroy") - destroyed));
    }

    private static void reduceAlone(Communicator communicator) {
        CudaDevice device = communicator.device();
        CudaStream stream = CudaStream.create(device);
        DeviceMemory buffer = DeviceMemory.allocate(device, 4);
        communicator.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM, stream);
        long destroyed = Emulator.callCount("ncclCommDestroy");
        long freed = Emulator.callCount("cudaFree");
        long start = System.nanoTime();
        communicator.close();
        buffer.close();
        stream.close();
        System.out.println("after reduce: closed " + communicator.isClosed() + ", destroyed "
                + (Emulator.callCount("ncclCommDestroy") - destroyed) + ", freed "
                + (Emulator.callCount("cudaFree") - freed) + ", at the limit "
                + (System.nanoTime() - start < Duration.ofSeconds(20).toNanos()));
    }
}
