package io.nccl4j.oracle;

import java.util.Arrays;
import java.util.SplittableRandom;

/** The kinds of routing that tests and benchmarks draw. */
public enum RoutingKind {
    /** Every expert equally likely, each at most once per token. */
    UNIFORM {
        @Override
        int[] draw(EpShape shape, int[] popularity, SplittableRandom random) {
            return distinct(shape, popularity, 0, shape.experts(), random);
        }
    },
    /** Popularity falls as one over the expert's place in a random order: a few experts get most tokens. */
    SKEWED {
        @Override
        int[] draw(EpShape shape, int[] popularity, SplittableRandom random) {
            return distinct(shape, popularity, 1, shape.experts(), random);
        }
    },
    /** Only a few experts are used at all, so that some ranks receive nothing. */
    CONCENTRATED {
        @Override
        int[] draw(EpShape shape, int[] popularity, SplittableRandom random) {
            return distinct(shape, popularity, 0, Math.max(shape.topK(), (shape.experts() + 3) / 4), random);
        }
    },
    /** Some top-k entries, and all of some tokens, are -1. */
    HOLES {
        @Override
        int[] draw(EpShape shape, int[] popularity, SplittableRandom random) {
            int[] experts = distinct(shape, popularity, 0, shape.experts(), random);
            boolean all = random.nextInt(4) == 0;
            for (int k = 0; k < experts.length; k++) {
                experts[k] = all || random.nextInt(3) == 0 ? -1 : experts[k];
            }
            return experts;
        }
    },
    /** Tokens may name an expert more than once. */
    DUPLICATES {
        @Override
        int[] draw(EpShape shape, int[] popularity, SplittableRandom random) {
            int[] experts = new int[shape.topK()];
            int range = Math.min(shape.experts(), Math.max(2, shape.topK()));
            for (int k = 0; k < experts.length; k++) {
                experts[k] = popularity[random.nextInt(range)];
            }
            return experts;
        }
    },
    /** No token goes anywhere. */
    NOTHING {
        @Override
        int[] draw(EpShape shape, int[] popularity, SplittableRandom random) {
            int[] experts = new int[shape.topK()];
            Arrays.fill(experts, -1);
            return experts;
        }
    };

    /**
     * The experts of one token; {@code popularity} is a random order of all experts, the same for all tokens of a case.
     */
    abstract int[] draw(EpShape shape, int[] popularity, SplittableRandom random);

    /** Routing of {@code tokens[rank]} tokens on every rank. */
    public Routing routing(EpShape shape, int[] tokens, SplittableRandom random) {
        int[] popularity = new int[shape.experts()];
        for (int i = 0; i < popularity.length; i++) {
            int j = random.nextInt(i + 1);
            popularity[i] = popularity[j];
            popularity[j] = i;
        }
        int[] rows = new int[shape.experts()];
        int[][][] experts = new int[shape.ranks()][][];
        for (int rank = 0; rank < shape.ranks(); rank++) {
            experts[rank] = new int[tokens[rank]][];
            for (int token = 0; token < tokens[rank]; token++) {
                experts[rank][token] = draw(shape, popularity, random);
                fit(experts[rank][token], rows, shape.ranks() * shape.maxTokens());
            }
        }
        return new Routing(shape, experts);
    }

    /**
     * Drops what would give an expert more rows than a zone of low latency has: with tokens that name it twice, the
     * device would write beyond it.
     */
    private static void fit(int[] token, int[] rows, int capacity) {
        for (int k = 0; k < token.length; k++) {
            if (token[k] >= 0 && rows[token[k]]++ >= capacity) {
                token[k] = -1;
            }
        }
    }

    /** Draws distinct experts among the first {@code range}, with weight 1 / place^exponent. */
    private static int[] distinct(EpShape shape, int[] popularity, int exponent, int range, SplittableRandom random) {
        int[] experts = new int[shape.topK()];
        Arrays.fill(experts, -1);
        double[] weight = new double[range];
        for (int i = 0; i < range; i++) {
            weight[i] = exponent == 0 ? 1 : 1.0 / (i + 1);
        }
        for (int k = 0; k < Math.min(experts.length, range); k++) {
            double at = random.nextDouble() * Arrays.stream(weight).sum();
            int drawn = 0;
            while (weight[drawn] == 0 || (at -= weight[drawn]) >= 0 && hasMore(weight, drawn)) {
                drawn++;
            }
            weight[drawn] = 0;
            experts[k] = popularity[drawn];
        }
        return experts;
    }

    private static boolean hasMore(double[] weight, int after) {
        for (int i = after + 1; i < weight.length; i++) {
            if (weight[i] != 0) {
                return true;
            }
        }
        return false;
    }
}
