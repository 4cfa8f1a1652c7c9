package io.nccl4j.safety;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.function.Supplier;

/**
 * Rank 0 does alone what needs rank 1, and closes everything; run in a JVM of its own, in which closing waits a second
 * at most. Prints what happened, a line each.
 */
public final class BoundedWaitsProcess {
    private static final Duration LIMIT = Duration.ofSeconds(1);
    private static final List<String> DESTROYS = List.of("ncclEpGroupDestroy", "ncclEpHandleDestroy", "ncclCommDestroy",
            "ncclCommAbort", "ncclCommWindowDeregister", "ncclMemFree");

    private static int runs;

    private BoundedWaitsProcess() {
    }

    /** The part of rank 0, which is alone, with everything that both ranks have made together. */
    private interface Alone {
        void run(Both both);
    }

    private record Both(Communicator communicator, EpGroup group, MoeLayer layer, CudaStream stream) {
    }

    public static void main(String[] arguments) {
        for (LayerKind shape : List.of(LayerKind.LL_EXPERT_MAJOR, LayerKind.HT_FLAT)) {
            run(shape, "create", both -> EpGroup.create(both.communicator, both.group.config()));
            run(shape, "warmUp", both -> both.layer.handle().warmUp(both.layer.buffers(), 1, both.stream));
            run(shape, "await", both -> {
                both.layer.enqueue(1);
                both.stream.await(LIMIT);
            });
            run(shape, "destroy", both -> {
            });
            run(shape, "leave", both -> {
            });
        }
        run(LayerKind.LL_RANK_MAJOR, "maskClean", both -> both.group.maskClean(both.stream));
        System.out.println("done");
    }

    private static void run(LayerKind shape, String name, Alone alone) {
        CountDownLatch over = new CountDownLatch(1);
        EpCase model = shape.draw(2, 501);
        // What is given up stays where it is, so each run has devices of its own.
        int first = 2 * runs++;
        EmulatedCluster.of(2).allowLeaks().limit(Duration.ofSeconds(50)).run(rank -> {
            CudaDevice device = CudaDevice.of(first + rank.rank());
            Communicator communicator = Communicator.init(rank.bootstrap(), device,
                    CommunicatorOptions.defaults().limit(LIMIT));
            CudaStream stream = CudaStream.create(device);
            EpGroupConfig config = shape.config(model);
            EpGroup group = EpGroup.create(communicator, (shape.isLowLatency() ? config.mask() : config));
            EpHandle handle = group.createHandle();
            MoeLayer layer = new MoeLayer(handle, BufferConfig.of(model.hidden(), LayerKind.type(model.format())),
                    stream);
            rank.bootstrap().barrier();
            if (rank.rank() == 1) {
                over.await();
                return;
            }
            Both both = new Both(communicator, group, layer, stream);
            try {
                report(shape + " " + name, alone, both);
            } finally {
                over.countDown();
            }
        });
    }

    private static void report(String name, Alone alone, Both both) {
        String said = "nothing";
        try {
            alone.run(both);
        } catch (RuntimeException e) {
            said = e.getClass().getSimpleName() + ": " + e.getMessage();
        }
        System.out.println(name + " said " + said);
        if (name.endsWith("leave")) {
            closeWithoutAbort(name, both);
            return;
        }
        try {
            both.communicator.abort();
            System.out.println(name + " aborted");
        } catch (IllegalStateException e) {
            System.out.println(name + " abort refused: " + e.getMessage());
        }
        long destroyed = destroys();
        close(name, both, () -> "destroys " + (destroys() - destroyed));
    }

    /** Destroying a group is collective: the call is made, and given up. */
    private static void closeWithoutAbort(String name, Both both) {
        long groups = Emulator.callCount("ncclEpGroupDestroy");
        long communicators = Emulator.callCount("ncclCommDestroy");
        close(name, both, () -> "group destroys " + (Emulator.callCount("ncclEpGroupDestroy") - groups)
                + ", communicator destroys " + (Emulator.callCount("ncclCommDestroy") - communicators));
    }

    private static void close(String name, Both both, Supplier<String> destroys) {
        long start = System.nanoTime();
        both.layer.close();
        both.layer.handle().close();
        both.group.close();
        both.stream.close();
        both.communicator.close();
        System.out.println(name + " closed " + both.communicator.isClosed() + ", " + destroys.get()
                + ", within the limits " + (System.nanoTime() - start < Duration.ofSeconds(25).toNanos()));
    }

    private static long destroys() {
        return DESTROYS.stream().mapToLong(Emulator::callCount).sum();
    }
}
