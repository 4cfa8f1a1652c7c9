package io.nccl4j.oracle;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** The slots of layout EXPERT_MAJOR with the high-throughput algorithm: a padded zone per local expert. */
public final class ExpertMajorSlots {
    private static final int SLOT_BITS = 22;

    private final FlatSlots flat;
    private final ExpertMajorMode mode;
    private final int alignment;
    private final int[] routed;
    private final long[] bases;
    private final long[] totals;
    private final int[][][] slots;

    /** @param alignment rows that a zone is padded to, a power of two; 0 and 1 mean no padding */
    public ExpertMajorSlots(Routing routing, ReceiveBudget budget, ExpertMajorMode mode, int alignment) {
        EpShape shape = routing.shape();
        this.mode = mode;
        this.alignment = Math.max(alignment, 1);
        flat = new FlatSlots(routing, budget);
        routed = new int[shape.experts()];
        bases = new long[shape.experts()];
        totals = new long[shape.ranks()];
        for (Source source : routing.sources()) {
            for (int rank = 0; rank < shape.ranks(); rank++) {
                for (int local : routing.localExperts(source, rank)) {
                    routed[expert(rank, local)]++;
                }
            }
        }
        for (int expert = 0; expert < shape.experts(); expert++) {
            bases[expert] = totals[shape.rankOf(expert)];
            totals[shape.rankOf(expert)] += padded(expert);
        }
        slots = assign();
    }

    private int[][][] assign() {
        EpShape shape = flat.routing().shape();
        ReceiveBudget budget = flat.budget();
        int[] next = new int[shape.experts()];
        int[][][] assigned = new int[shape.ranks()][][];
        for (int rank = 0; rank < shape.ranks(); rank++) {
            assigned[rank] = new int[flat.routing().tokens(rank)][shape.experts()];
        }
        for (Source source : flat.routing().sources()) {
            int[] row = assigned[source.rank()][source.token()];
            Arrays.fill(row, -1);
            for (int rank = 0; rank < shape.ranks(); rank++) {
                for (int local : flat.routing().localExperts(source, rank)) {
                    int expert = expert(rank, local);
                    long slot = bases[expert] + next[expert]++;
                    boolean lost = mode == ExpertMajorMode.LOCAL_PERMUTE && flat.slot(source, rank) < 0;
                    row[expert] = lost || budget.drops() && slot >= budget.rows() ? -1 : (int) slot;
                }
            }
        }
        return assigned;
    }

    public Routing routing() {
        return flat.routing();
    }

    public ReceiveBudget budget() {
        return flat.budget();
    }

    public ExpertMajorMode mode() {
        return mode;
    }

    private int expert(int rank, int local) {
        return rank * flat.routing().shape().localExperts() + local;
    }

    private long padded(int expert) {
        return (routed[expert] + alignment - 1L) / alignment * alignment;
    }

    /** A token's slot in an expert's zone, or -1 if it does not go there or was dropped. */
    public int slot(Source source, int expert) {
        return slots[source.rank()][source.token()][expert];
    }

    /** Rows of all zones of a rank with padding, dropped ones included: {@code recv_total_counter}. */
    public long total(int rank) {
        return totals[rank];
    }

    /** Rows of all zones of a rank with padding that lie within the budget. */
    public int kept(int rank) {
        return (int) (budget().drops() ? Math.min(totals[rank], budget().rows()) : totals[rank]);
    }

    /** {@code expert_counters} of a rank: rows of each zone with padding. */
    public long[] counters(int rank) {
        long[] counters = new long[routing().shape().localExperts()];
        for (int local = 0; local < counters.length; local++) {
            int expert = expert(rank, local);
            long room = Math.max(0, budget().rows() - bases[expert]);
            counters[local] = budget().drops() ? Math.min(padded(expert), room) : padded(expert);
        }
        return counters;
    }

    /** {@code expert_offsets} of a rank: the first row of each zone. */
    public long[] offsets(int rank) {
        long[] offsets = new long[routing().shape().localExperts()];
        for (int local = 0; local < offsets.length; local++) {
            long base = bases[expert(rank, local)];
            offsets[local] = budget().drops() ? Math.min(base, budget().rows()) : base;
        }
        return offsets;
    }

    /** Whether the device traps at a rank. */
    public boolean traps(int rank) {
        if (budget().overflow() != ReceiveBudget.Overflow.TRAP) {
            return false;
        }
        if (mode == ExpertMajorMode.LOCAL_PERMUTE) {
            return flat.traps(rank) || totals[rank] > budget().rows();
        }
        // In these modes every rank checks all destinations.
        return Arrays.stream(totals).anyMatch(total -> total > budget().rows());
    }

    /**
     * The slot map of a rank. In mode LOCAL_PERMUTE it is that of layout FLAT; in the others it is {@code [B][K]}: for
     * each of a token's experts, by rank and local id, the rank in the upper bits and the slot in the lower 22, or -1
     * if dropped; -1 in the places left over.
     */
    public int[][] map(int rank) {
        if (mode == ExpertMajorMode.LOCAL_PERMUTE) {
            return flat.map(rank);
        }
        EpShape shape = routing().shape();
        int[][] map = new int[shape.maxTokens()][shape.topK()];
        for (int[] row : map) {
            Arrays.fill(row, -1);
        }
        for (Source source : routing().sources(rank)) {
            int k = 0;
            for (int destination = 0; destination < shape.ranks(); destination++) {
                for (int local : routing().localExperts(source, destination)) {
                    int slot = slot(source, expert(destination, local));
                    map[source.token()][k++] = slot < 0 ? -1 : destination << SLOT_BITS | slot;
                }
            }
        }
        return map;
    }

    /** The source and expert of every row of a rank; null for a padding or dropped row. */
    List<Entry> rows(int rank) {
        Entry[] rows = new Entry[kept(rank)];
        for (Source source : routing().sources()) {
            for (int local : routing().localExperts(source, rank)) {
                int slot = slot(source, expert(rank, local));
                if (slot >= 0) {
                    rows[slot] = new Entry(source, expert(rank, local));
                }
            }
        }
        return Collections.unmodifiableList(Arrays.asList(rows));
    }

    /**
     * The occupant of a slot.
     *
     * @param expert global number
     */
    record Entry(Source source, int expert) {
    }
}
