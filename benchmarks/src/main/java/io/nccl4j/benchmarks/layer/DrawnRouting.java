package io.nccl4j.benchmarks.layer;

import java.util.SplittableRandom;

/**
 * Which experts each token goes to: as many different ones as top-k says, uniformly at random. Every rank draws the same from the
 * same seed, so that each knows what it will receive.
 */
public final class DrawnRouting {
    private static final int NONE = -1;

    private final LayerShape shape;
    private final int[][] experts;
    private final int[] counts;

    /**
     * @param uniform whether all ranks have as many tokens as there is room for; else each draws between half of that and all
     */
    public DrawnRouting(LayerShape shape, boolean uniform, long seed) {
        this.shape = shape;
        experts = new int[shape.ranks()][shape.tokens() * shape.topK()];
        counts = new int[shape.ranks()];
        SplittableRandom random = new SplittableRandom(seed);
        for (int rank = 0; rank < shape.ranks(); rank++) {
            counts[rank] = uniform
                    ? shape.tokens()
                    : random.nextInt((shape.tokens() + 1) / 2, shape.tokens() + 1);
            for (int token = 0; token < shape.tokens(); token++) {
                draw(random, experts[rank], token, token < counts[rank]);
            }
        }
    }

    private void draw(SplittableRandom random, int[] target, int token, boolean real) {
        int first = token * shape.topK();
        for (int k = 0; k < shape.topK(); k++) {
            int expert = NONE;
            while (real && (expert == NONE || contains(target, first, k, expert))) {
                expert = random.nextInt(shape.experts());
            }
            target[first + k] = expert;
        }
    }

    private static boolean contains(int[] values, int from, int count, int value) {
        for (int i = from; i < from + count; i++) {
            if (values[i] == value) {
                return true;
            }
        }
        return false;
    }

    public LayerShape shape() {
        return shape;
    }

    /** Tokens of a rank. */
    public int tokens(int rank) {
        return counts[rank];
    }

    /** The k-th expert of a rank's token, or -1 beyond its tokens. */
    public int expert(int rank, int token, int k) {
        return experts[rank][token * shape.topK() + k];
    }

    /** How many (token, expert) pairs a rank sends. */
    public long selections(int rank) {
        return (long) counts[rank] * shape.topK();
    }

    /** How many tokens {@code source} has for experts on {@code destination}. */
    public long messages(int source, int destination) {
        long messages = 0;
        for (int token = 0; token < counts[source]; token++) {
            messages += Math.min(1, expertsOn(source, token, destination));
        }
        return messages;
    }

    private int expertsOn(int source, int token, int rank) {
        int count = 0;
        for (int k = 0; k < shape.topK(); k++) {
            if (shape.owner(expert(source, token, k)) == rank) {
                count++;
            }
        }
        return count;
    }

    /** Rows that {@code source} sends to {@code destination}: one per token, or per token and expert, as the layout has it. */
    public long rows(int source, int destination) {
        if (!shape.rowPerExpert()) {
            return messages(source, destination);
        }
        long rows = 0;
        for (int token = 0; token < counts[source]; token++) {
            rows += expertsOn(source, token, destination);
        }
        return rows;
    }

    /** Rows that arrive at a rank. */
    public long received(int rank) {
        long rows = 0;
        for (int source = 0; source < shape.ranks(); source++) {
            rows += rows(source, rank);
        }
        return rows;
    }

    /** Rows that arrive at all ranks. */
    public long received() {
        long rows = 0;
        for (int rank = 0; rank < shape.ranks(); rank++) {
            rows += received(rank);
        }
        return rows;
    }
}
