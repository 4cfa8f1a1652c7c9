package io.nccl4j.ep;

import io.nccl4j.cuda.MemoryInfo;
import io.nccl4j.nccl.Communicator;
import java.time.Duration;
import java.util.List;

/**
 * A request for memory, which ranks exchange before they make something together: how much it takes, how much their
 * device has free, and what they make. So all refuse alike what one of them cannot make; in the library, that one
 * would end its process, and the others would wait for it.
 *
 * @param needed bytes of device memory that it takes
 * @param spare bytes that the driver and the library may take besides
 * @param free bytes that the device has free
 * @param total bytes that the device has
 * @param what is made; must be the same on all ranks
 */
record MemoryRequest(long needed, long spare, long free, long total, String what) {
    /** Of this rank, with what its device has free now. */
    static MemoryRequest of(Communicator communicator, long needed, long spare, String what) {
        MemoryInfo memory = communicator.device().memoryInfo();
        return new MemoryRequest(needed, spare, memory.freeBytes(), memory.totalBytes(), what);
    }

    /**
     * Refuses on all ranks if one of them has not enough, or makes something else. Collective, unless ranks are mixed.
     *
     * @param call that follows
     * @param longest to wait for the other ranks
     */
    void checkOnAllRanks(Communicator communicator, String call, Duration longest) {
        String mine = needed + " " + spare + " " + free + " " + total + " " + what;
        List<MemoryRequest> all = communicator.exchange(call, longest, mine).stream().map(MemoryRequest::parse)
                .toList();
        for (int rank = 0; rank < all.size(); rank++) {
            Rule.SAME_ON_ALL_RANKS.refuseIf(!all.get(rank).what.equals(all.getFirst().what),
                    "%s: rank 0 asks for %s, rank %d for %s; must be the same", call, all.getFirst().what, rank,
                    all.get(rank).what);
        }
        for (int rank = 0; rank < all.size(); rank++) {
            all.get(rank).check(call, all.size() == 1 ? communicator.rank() : rank);
        }
    }

    /** Refuses on this rank alone, for what is not made together. */
    void check(String call, int rank) {
        Rule.DEVICE_MEMORY.refuseIf(needed > free - spare,
                "%s takes %d bytes of device memory%s: the device of rank %d has %d of %d free; "
                        + "fewer maxTokensPerRank, or RANK_MAJOR instead of EXPERT_MAJOR, take less",
                call, needed, spare == 0 ? "" : ", and the driver up to " + spare + " for it", rank, free, total);
    }

    private static MemoryRequest parse(String said) {
        String[] parts = said.split(" ", 5);
        return new MemoryRequest(Long.parseLong(parts[0]), Long.parseLong(parts[1]), Long.parseLong(parts[2]),
                Long.parseLong(parts[3]), parts[4]);
    }
}
