package io.nccl4j.nccl;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaDevice;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Stream;

/**
 * How the ranks of a job find each other before there is a communicator, and talk on the host afterwards. Package
 * {@code io.nccl4j.bootstrap} has implementations; others need {@link #allGather} only.
 *
 * <p>All ranks make the same calls in the same order. Every call has a time limit and names the ranks that did not
 * come. One thread at a time; {@link #goneRanks}, {@link #leave} and {@link #close} may come from others, and the last
 * two end a call that waits. An interrupt ends no call, since other ranks depend on it: the thread's flag is set again
 * afterwards.
 *
 * <p>Keep it open as long as the communicator: it is how a rank learns that another one has gone.
 */
public interface Bootstrap extends AutoCloseable {
    /** {@return this rank, from 0} */
    int rank();

    /** {@return number of ranks} */
    int size();

    /** {@return number of this rank among those on its machine, from 0: by convention the ordinal of its device} */
    int localRank();

    /** {@return how long a call waits for the other ranks} */
    Duration limit();

    /**
     * {@return the device of this rank: the one whose ordinal is {@link #localRank}, or the only one if the launcher
     * shows each process a single one, as {@code CUDA_VISIBLE_DEVICES} and {@code NVIDIA_VISIBLE_DEVICES} tell}
     *
     * @throws IllegalStateException if there is no such device; the message names the variable
     */
    default CudaDevice device() {
        int count = CudaDevice.count();
        int local = localRank();
        if (local < count) {
            return CudaDevice.of(local);
        }
        String visible = System.getenv("CUDA_VISIBLE_DEVICES");
        boolean oneEach = Stream.of(visible, System.getenv("NVIDIA_VISIBLE_DEVICES"))
                .anyMatch(list -> list != null && !list.matches("\\s*|all|void|none|.*,.*"));
        if (count == 1 && oneEach) {
            return CudaDevice.of(0);
        }
        throw new IllegalStateException("rank " + rank() + " is number " + local + " on its machine, counted from 0, "
                + "and its process sees " + count + (count == 1 ? " device" : " devices") + " (CUDA_VISIBLE_DEVICES is "
                + (visible == null ? "not set" : "'" + visible + "'")
                + "): show it all devices of the machine, or exactly one with CUDA_VISIBLE_DEVICES");
    }

    /**
     * Gives every rank what all of them have given, by rank. Nobody gets it before everybody has called. Sizes may
     * differ.
     *
     * @param mine what this rank gives
     * @return what each rank has given, by rank
     * @throws WaitTimeoutException if a rank does not call in time; the message names it
     * @throws IllegalStateException if a rank has left or failed; the message names it
     */
    byte[][] allGather(byte[] mine);

    /**
     * Waits until all ranks are here.
     *
     * @throws WaitTimeoutException if a rank does not come in time; the message names it
     */
    default void barrier() {
        allGather(new byte[0]);
    }

    /**
     * Rank 0 makes a unique id and all get it. As nobody gets it before everybody has reported, a rank that is missing
     * is named here, and not waited for in {@code ncclCommInitRank}, which knows no limit.
     *
     * @return the id
     */
    default UniqueId exchangeUniqueId() {
        byte[] mine = {};
        RuntimeException failure = null;
        if (rank() == 0) {
            try {
                mine = UniqueId.create().toBytes();
            } catch (RuntimeException e) {
                // The others must hear of it instead of waiting: text in place of the id, which is told by its length.
                failure = e;
                mine = Arrays.copyOf(String.valueOf(e.getMessage()).getBytes(StandardCharsets.UTF_8),
                        UniqueId.BYTES * 8);
            }
        }
        byte[] id = allGather(mine)[0];
        if (failure != null) {
            throw failure;
        }
        if (id.length != UniqueId.BYTES) {
            throw new IllegalStateException(
                    "rank 0 could not make a unique id: " + new String(id, StandardCharsets.UTF_8).replace("\0", ""));
        }
        return UniqueId.of(id);
    }

    /**
     * {@return the ranks that are known to have gone, by rank} Asks nobody and does not wait: the news comes by itself.
     * A rank that is not named may have gone all the same; an implementation that knows nothing names none.
     */
    default Map<Integer, Departure> goneRanks() {
        return Map.of();
    }

    /**
     * Leaves because this rank can take part in nothing any more, and tells the others. They end their calls at once.
     * Idempotent; {@link #close} need not follow.
     *
     * @param how the rest of a sentence that begins with the rank, such as {@code has no device}
     */
    default void leave(String how) {
        close();
    }

    /** Leaves. Idempotent; the other ranks need not leave at the same time. */
    @Override
    void close();
}
