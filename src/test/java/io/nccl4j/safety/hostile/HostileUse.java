package io.nccl4j.safety.hostile;

import io.nccl4j.emulator.Emulator;
import io.nccl4j.internal.Ownership;
import java.util.SplittableRandom;

/**
 * Random sequences of calls of the whole public API by several ranks: right and wrong arguments, orders, threads and
 * devices, closes, captures, faults. On the strict emulator, with poisoned memory and shuffled order. Whatever happens
 * must be a documented exception, a right result, nothing left alive and no misuse of the native library. See {@link
 * HostileOptions} for the arguments.
 */
public final class HostileUse {
    private static final long PROGRESS_NANOS = 10_000_000_000L;
    private static final int SEQUENCES_PER_COLLECTION = 25;
    private static final long SLOW_NANOS = 10_000_000_000L;

    private HostileUse() {
    }

    /** Prints progress, and what was found; exits with 1 if something was. */
    public static void main(String[] arguments) {
        HostileOptions options = HostileOptions.parse(arguments);
        System.out.println("hostile use, seed " + Long.toHexString(options.seed())
                + (options.only() == null ? "" : ", only sequence " + Long.toHexString(options.only())));
        Emulator.use();
        HostileKernel.register();
        HostileStatistics statistics = new HostileStatistics();
        ApiSurface surface = new ApiSurface();
        SplittableRandom seeds = new SplittableRandom(options.seed());
        long start = System.nanoTime();
        long shown = start;
        try {
            if (options.only() != null) {
                run(new HostileSequence(options.only(), options, statistics, surface));
            } else {
                for (int i = 0; i < options.sequences() && !isOver(options, start); i++) {
                    run(new HostileSequence(seeds.nextLong(), options, statistics, surface));
                    if (i % SEQUENCES_PER_COLLECTION == 0) {
                        checkDropped();
                    }
                    if (System.nanoTime() - shown > PROGRESS_NANOS) {
                        shown = System.nanoTime();
                        System.out.println("progress: " + statistics.progress());
                    }
                }
            }
            checkDropped();
        } catch (HostileFailure e) {
            System.out.println("FAILED " + e.getMessage());
            e.printStackTrace(System.out);
            System.out.println(statistics.summary(surface));
            System.exit(1);
        }
        System.out.println(statistics.summary(surface));
        System.out.println("native calls " + Emulator.callCount() + ", alive at the end " + Emulator.usage());
        System.out.println("done");
        System.exit(0);
    }

    /** Leaks that the garbage collector has found so far. */
    private static void checkDropped() {
        System.gc();
        if (Ownership.leaks() > 0) {
            throw new HostileFailure(Ownership.leaks() + " objects were never closed", null);
        }
    }

    private static void run(HostileSequence sequence) {
        long start = System.nanoTime();
        try {
            sequence.run();
            if (System.nanoTime() - start > SLOW_NANOS) {
                System.out.println("slow: " + sequence);
            }
        } catch (HostileFailure e) {
            throw e;
        } catch (RuntimeException e) {
            throw new HostileFailure(sequence + ": " + e + " " + Emulator.errorText(io.nccl4j.cuda.CudaDevice.of(0)),
                    e);
        }
    }

    private static boolean isOver(HostileOptions options, long start) {
        return options.seconds() > 0 && System.nanoTime() - start > options.seconds() * 1_000_000_000L;
    }
}
