package io.nccl4j.safety.kill;

import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A rank that meets the others, computes, and closes everything, unless something happens. Arguments are a folder and a
 * port to meet at, the rank, the trial's number and the campaign's seed. Prints what happened, a line each.
 */
public final class SignalledRankProcess {
    /** For the others to start their JVM. */
    static final Duration MEETING = Duration.ofSeconds(20);
    /** For every other call that waits; {@code nccl4j.close.limit.seconds} is as long. */
    static final Duration LIMIT = Duration.ofSeconds(5);

    private static final Duration LATE = Duration.ofSeconds(3);
    private static final int STEPS = 30;
    private static final int BARRIERS = 30;

    private final Trial trial;
    private final int rank;
    private final Path folder;
    private final int port;
    private final LimitedCalls calls = new LimitedCalls();
    private final Deque<AutoCloseable> owned = new ArrayDeque<>();
    private volatile Place place;
    private @Nullable Thread signal;

    private SignalledRankProcess(Trial trial, int rank, Path folder, int port) {
        this.trial = trial;
        this.rank = rank;
        this.folder = folder;
        this.port = port;
    }

    public static void main(String[] arguments) {
        Emulator.use();
        Trial trial = Trial.draw(Integer.parseInt(arguments[3]), Long.parseUnsignedLong(arguments[4], 16));
        new SignalledRankProcess(trial, Integer.parseInt(arguments[2]), Path.of(arguments[0]),
                Integer.parseInt(arguments[1])).run();
        // No exit: nothing of the library may keep the JVM from ending.
    }

    private void run() {
        if (trial.hook() && rank == trial.victim()) {
            closeInAHook();
        }
        try {
            live();
            System.out.println("finished");
        } catch (RuntimeException | AssertionError e) {
            System.out.println("at " + place + " " + e.getClass().getName() + ": " + e.getMessage());
        }
        while (!owned.isEmpty()) {
            close(owned.pop());
        }
        awaitSignal();
        System.out.println(calls.report());
        System.out.println("done");
    }

    /** A rank that is faster than its signal has it at its end. */
    private void awaitSignal() {
        if (signal != null) {
            try {
                signal.join();
            } catch (InterruptedException e) {
                // By the hook, which has the signal.
                Thread.currentThread().interrupt();
            }
        }
    }

    private void close(AutoCloseable resource) {
        calls.run("close of " + resource.getClass().getSimpleName(), LIMIT, () -> {
            try {
                resource.close();
            } catch (Exception e) {
                System.out.println("close " + e.getClass().getName() + ": " + e.getMessage());
            }
        });
    }

    /** As the documentation of {@code ExecutorService} and many servers do it. */
    private static void closeInAHook() {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            main.interrupt();
            try {
                main.join();
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        }));
    }

    private void enter(Place next) {
        place = next;
        if (rank == trial.victim() && next == trial.place()) {
            signal = Thread.ofPlatform().daemon().name("signal").start(() -> {
                long end = System.nanoTime() + trial.delay().toNanos();
                for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                System.out.println("signal at " + place);
                trial.signal().send(ProcessHandle.current().pid());
            });
        }
    }

    private <T extends AutoCloseable> T own(String what, Duration limit, Supplier<T> maker) {
        T made = calls.make(what, limit, maker);
        owned.push(made);
        return made;
    }

    private void live() {
        enter(Place.BOOTSTRAP);
        BootstrapOptions options = BootstrapOptions.defaults().limit(MEETING);
        Bootstrap bootstrap = own("Bootstraps", MEETING,
                () -> trial.tcp()
                        ? Bootstraps.tcp("127.0.0.1", port, rank, trial.ranks(), options)
                        : Bootstraps.file(folder, rank, trial.ranks(), options));
        enter(Place.INIT);
        LayerKind kind = trial.kind();
        EpCase model = kind.draw(trial.ranks(), trial.seed());
        CudaDevice device = CudaDevice.of(rank);
        Communicator communicator = own("Communicator.init", MEETING,
                () -> Communicator.init(bootstrap, device, CommunicatorOptions.defaults().limit(LIMIT)));
        CudaStream stream = own("CudaStream.create", LIMIT, () -> CudaStream.create(device));
        EpGroup group = own("EpGroup.create", LIMIT, () -> EpGroup.create(communicator, config(model)));
        EpHandle handle = own("createHandle", LIMIT, group::createHandle);
        MoeLayer layer = own("buffers", LIMIT,
                () -> new MoeLayer(handle, BufferConfig.of(model.hidden(), LayerKind.type(model.format())), stream));
        CudaGraphExec exec = trial.graph()
                ? own("capture", LIMIT, () -> layer.capture(layer.buffers().maxTokens()))
                : null;
        enter(Place.STEPS);
        for (int step = 0; step < STEPS; step++) {
            step(model.redraw(RoutingKind.UNIFORM, trial.seed() + step), layer, exec, stream);
        }
        enter(Place.BARRIER);
        for (int i = 0; i < BARRIERS; i++) {
            calls.run("barrier", MEETING, bootstrap::barrier);
        }
        enter(Place.CLOSE);
    }

    private EpGroupConfig config(EpCase model) {
        EpGroupConfig config = trial.kind().config(model);
        // Unchecked, NCCL EP ends the process if a peer's end has cost the device between two calls.
        config = trial.kind().isLowLatency() ? config.timeout(LATE) : config.checked();
        return trial.mask() ? config.mask() : config;
    }

    private void step(EpCase batch, MoeLayer layer, CudaGraphExec exec, CudaStream stream) {
        layer.load(batch);
        calls.run("launch", LIMIT, () -> {
            if (exec != null) {
                exec.launch(stream);
            } else {
                layer.enqueue(layer.count(batch));
            }
        });
        calls.run("await", LIMIT, () -> stream.await(LIMIT));
        // Without the rows of a rank that was masked, results are others.
        if (!trial.mask() || !layer.handle().group().asyncError()) {
            layer.verify(batch);
        }
    }
}
