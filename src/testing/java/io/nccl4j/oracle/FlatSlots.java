package io.nccl4j.oracle;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The slots of layout FLAT: at each destination, tokens in the order of their sources, one slot each. */
public final class FlatSlots {
    private final Routing routing;
    private final ReceiveBudget budget;
    private final List<List<Source>> received = new ArrayList<>();
    private final int[][][] slots;

    public FlatSlots(Routing routing, ReceiveBudget budget) {
        this.routing = routing;
        this.budget = budget;
        int ranks = routing.shape().ranks();
        slots = new int[ranks][][];
        for (int rank = 0; rank < ranks; rank++) {
            slots[rank] = new int[routing.tokens(rank)][ranks];
            received.add(new ArrayList<>());
        }
        for (Source source : routing.sources()) {
            int[] row = slots[source.rank()][source.token()];
            Arrays.fill(row, -1);
            for (int rank = 0; rank < ranks; rank++) {
                if (routing.goesTo(source, rank)) {
                    int slot = received.get(rank).size();
                    received.get(rank).add(source);
                    row[rank] = budget.drops() && slot >= budget.rows() ? -1 : slot;
                }
            }
        }
    }

    public Routing routing() {
        return routing;
    }

    public ReceiveBudget budget() {
        return budget;
    }

    /** A token's slot on a rank, or -1 if it does not go there or was dropped. */
    public int slot(Source source, int rank) {
        return slots[source.rank()][source.token()][rank];
    }

    /** Tokens routed to a rank, dropped ones included: {@code recv_total_counter}. */
    public int total(int rank) {
        return received.get(rank).size();
    }

    /** The tokens that a rank receives, by slot. */
    public List<Source> kept(int rank) {
        List<Source> all = received.get(rank);
        return budget.drops() ? all.subList(0, Math.min(all.size(), budget.rows())) : all;
    }

    /** Whether the device traps at a rank. */
    public boolean traps(int rank) {
        return budget.overflow() == ReceiveBudget.Overflow.TRAP && total(rank) > budget.rows();
    }

    /** The slot map of a rank: {@code [B][R]}, the slot of each of its tokens at each destination or -1. */
    public int[][] map(int rank) {
        EpShape shape = routing.shape();
        int[][] map = new int[shape.maxTokens()][shape.ranks()];
        for (int token = 0; token < map.length; token++) {
            if (token < routing.tokens(rank)) {
                map[token] = slots[rank][token].clone();
            } else {
                Arrays.fill(map[token], -1);
            }
        }
        return map;
    }
}
