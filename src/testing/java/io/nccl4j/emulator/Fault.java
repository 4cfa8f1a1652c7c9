package io.nccl4j.emulator;

import java.time.Duration;

/**
 * Something that goes wrong on demand; see {@link Emulator#inject}. Operations, allocations and launches count from 1,
 * from the injection on. EP operations are dispatches and combines, counted when they run; replays count.
 */
public sealed interface Fault {
    /** Rank or device number that stands for all of them. */
    int ANY = -1;

    /** The rank's n-th EP operation starts late. */
    record Delay(int rank, long nth, Duration by) implements Fault {
    }

    /** From its n-th EP operation on, nobody hears of the rank any more; its own calls return. */
    record Silence(int rank, long nth) implements Fault {
    }

    /** The process ends as by {@code kill -9} at the rank's n-th EP operation. */
    record EndProcess(int rank, long nth) implements Fault {
    }

    /** The device's n-th allocation of device or pinned memory fails. */
    record FailAllocation(int device, long nth) implements Fault {
    }

    /** The device's n-th enqueued operation fails when it is launched, which loses the device. */
    record FailLaunch(int device, long nth) implements Fault {
    }

    /** From its n-th EP operation on, what ranks of other hosts send reaches the rank late. */
    record SlowLink(int rank, long nth, Duration by) implements Fault {
    }

    /** From its n-th EP operation on, the rank does not see what the rank {@code peer} sends. */
    record DropMessages(int rank, long nth, int peer) implements Fault {
    }
}
