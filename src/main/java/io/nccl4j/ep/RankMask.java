package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.MemorySegment;
import java.util.BitSet;

/**
 * Which ranks of a low-latency group take part: the host's side of masks. The device's side is a tensor, so that the
 * two cannot be mixed up. Immutable.
 *
 * <p>A mask is each rank's own view; nothing makes the ranks agree but their users. A rank that has missed operations
 * can come back only if it missed an even number of them.
 */
public final class RankMask {
    private final int size;
    private final BitSet active;

    private RankMask(int size, BitSet active) {
        this.size = size;
        this.active = active;
    }

    /**
     * {@return a mask in which all ranks take part}
     *
     * @param size number of ranks
     */
    public static RankMask all(int size) {
        if (size < 1) {
            throw new IllegalArgumentException("a mask of " + size + " ranks: must have at least one");
        }
        BitSet bits = new BitSet(size);
        bits.set(0, size);
        return new RankMask(size, bits);
    }

    /**
     * {@return the same mask without a rank}
     *
     * @param rank number of the rank, from 0
     */
    public RankMask without(int rank) {
        BitSet bits = copy(rank);
        bits.clear(rank);
        return new RankMask(size, bits);
    }

    /**
     * {@return the same mask with a rank}
     *
     * @param rank number of the rank, from 0
     */
    public RankMask with(int rank) {
        BitSet bits = copy(rank);
        bits.set(rank);
        return new RankMask(size, bits);
    }

    /**
     * {@return the ranks that take part in both: what survivors agree on}
     *
     * @param other the other mask, of as many ranks
     */
    public RankMask and(RankMask other) {
        if (other.size != size) {
            throw new IllegalArgumentException("masks of " + size + " and of " + other.size + " ranks");
        }
        BitSet bits = copy(0);
        bits.and(other.active);
        return new RankMask(size, bits);
    }

    private BitSet copy(int rank) {
        check(rank);
        return (BitSet) active.clone();
    }

    private void check(int rank) {
        if (rank < 0 || rank >= size) {
            throw new IllegalArgumentException("rank " + rank + " of " + size);
        }
    }

    /** {@return number of ranks, masked or not} */
    public int size() {
        return size;
    }

    /**
     * {@return whether a rank takes part}
     *
     * @param rank number of the rank, from 0
     */
    public boolean isActive(int rank) {
        check(rank);
        return active.get(rank);
    }

    /** {@return number of ranks that take part} */
    public int activeCount() {
        return active.cardinality();
    }

    /** As C has it: an int per rank, 0 for masked. */
    void encode(MemorySegment target) {
        for (int rank = 0; rank < size; rank++) {
            target.setAtIndex(JAVA_INT, rank, active.get(rank) ? 1 : 0);
        }
    }

    static RankMask decode(MemorySegment source, int size) {
        BitSet bits = new BitSet(size);
        for (int rank = 0; rank < size; rank++) {
            bits.set(rank, source.getAtIndex(JAVA_INT, rank) != 0);
        }
        return new RankMask(size, bits);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof RankMask mask && mask.size == size && mask.active.equals(active);
    }

    @Override
    public int hashCode() {
        return 31 * size + active.hashCode();
    }

    @Override
    public String toString() {
        return "RankMask(" + active + " of " + size + ")";
    }
}
