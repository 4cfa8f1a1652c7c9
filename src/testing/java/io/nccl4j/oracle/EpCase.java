package io.nccl4j.oracle;

import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/**
 * A random input of one dispatch: shape, routing, rows and weights of all ranks.
 *
 * @param seed draws the same case again from the same space
 * @param kind what the routing is like
 * @param format the rows' format
 * @param hidden elements per row
 * @param inputs what the ranks send; rows differ from each other
 */
public record EpCase(long seed, RoutingKind kind, NumberFormat format, int hidden, GlobalInputs inputs) {

    /** The case that {@code seed} stands for. */
    public static EpCase draw(CaseSpace space, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        EpShape shape = shape(space, random);
        RoutingKind kind = choose(space.routings(), random);
        return draw(shape, kind, choose(space.formats(), random), choose(space.hidden(), random), seed, random);
    }

    /** Another case of the same shape, format and row length: other tokens, other routing, other numbers of tokens. */
    public EpCase redraw(RoutingKind otherKind, long otherSeed) {
        return of(shape(), otherKind, format, hidden, otherSeed);
    }

    /** A case of a given shape: any number of tokens on each rank. */
    public static EpCase of(EpShape shape, RoutingKind kind, NumberFormat format, int hidden, long seed) {
        return draw(shape, kind, format, hidden, seed, new SplittableRandom(seed));
    }

    /**
     * A case of a given shape and numbers of tokens per rank. Its routing is what {@code kind} draws from a generator
     * with that seed.
     */
    public static EpCase of(EpShape shape, RoutingKind kind, int[] tokens, NumberFormat format, int hidden, long seed) {
        return draw(shape, kind, tokens, format, hidden, seed, new SplittableRandom(seed));
    }

    private static EpCase draw(EpShape shape, RoutingKind kind, NumberFormat format, int hidden, long seed,
            SplittableRandom random) {
        return draw(shape, kind, tokens(shape, random), format, hidden, seed, random);
    }

    private static EpCase draw(EpShape shape, RoutingKind kind, int[] tokens, NumberFormat format, int hidden,
            long seed, SplittableRandom random) {
        Routing routing = kind.routing(shape, tokens, random);
        byte[][][] rows = new byte[shape.ranks()][][];
        float[][][] weights = new float[shape.ranks()][][];
        for (int rank = 0; rank < shape.ranks(); rank++) {
            rows[rank] = new byte[tokens[rank]][];
            weights[rank] = new float[tokens[rank]][shape.topK()];
            for (int token = 0; token < tokens[rank]; token++) {
                rows[rank][token] = row(format, hidden, random);
                for (int k = 0; k < shape.topK(); k++) {
                    weights[rank][token][k] = (float) random.nextDouble(0.01, 1);
                }
            }
        }
        return new EpCase(seed, kind, format, hidden, new GlobalInputs(routing, rows, null, weights));
    }

    private static EpShape shape(CaseSpace space, SplittableRandom random) {
        while (true) {
            int ranks = random.nextInt(space.minRanks(), space.maxRanks() + 1);
            int experts = ranks * random.nextInt(1, space.maxLocalExperts() + 1);
            int topK = random.nextInt(1, Math.min(space.maxTopK(), experts) + 1);
            EpShape shape = new EpShape(ranks, experts, topK, random.nextInt(1, space.maxTokens() + 1), space.teams());
            if (space.allows(shape)) {
                return shape;
            }
        }
    }

    /** Tokens per rank: all full, any number, some ranks without, none at all. */
    private static int[] tokens(EpShape shape, SplittableRandom random) {
        int[] tokens = new int[shape.ranks()];
        int style = random.nextInt(10);
        for (int rank = 0; rank < tokens.length; rank++) {
            tokens[rank] = switch (style) {
                case 0 -> 0;
                case 1, 2 -> shape.maxTokens();
                case 3, 4, 5 -> random.nextBoolean() ? 0 : random.nextInt(shape.maxTokens() + 1);
                default -> random.nextInt(shape.maxTokens() + 1);
            };
        }
        return tokens;
    }

    /** Values of one magnitude per row, with an occasional zero of either sign. */
    private static byte[] row(NumberFormat format, int hidden, SplittableRandom random) {
        byte[] row = new byte[hidden * format.bytes()];
        float magnitude = Math.scalb(1f, random.nextInt(-4, 5));
        for (int i = 0; i < hidden; i++) {
            int zero = random.nextInt(64);
            float value = (float) (random.nextDouble(-1, 1) * magnitude);
            format.set(row, i, zero == 0 ? 0f : zero == 1 ? -0f : value);
        }
        return row;
    }

    private static <T> T choose(List<T> list, SplittableRandom random) {
        return list.get(random.nextInt(list.size()));
    }

    /**
     * The same with one weight for an expert that a token names more than once: which of several survives is open in
     * high throughput.
     */
    public EpCase withOneWeightPerExpert() {
        float[][][] weights = new float[shape().ranks()][][];
        for (int rank = 0; rank < weights.length; rank++) {
            weights[rank] = new float[inputs.routing().tokens(rank)][shape().topK()];
            for (Source source : inputs.routing().sources(rank)) {
                for (int k = 0; k < shape().topK(); k++) {
                    int first = 0;
                    while (inputs.routing().expert(source, first) != inputs.routing().expert(source, k)) {
                        first++;
                    }
                    weights[rank][source.token()][k] = inputs.weights(source)[first];
                }
            }
        }
        return new EpCase(seed, kind, format, hidden,
                new GlobalInputs(inputs.routing(), inputs.tokens(), inputs.scales(), weights));
    }

    /** The shape of the group. */
    public EpShape shape() {
        return inputs.routing().shape();
    }

    /** Further random choices for this case, the same at every call. */
    public SplittableRandom random() {
        return new SplittableRandom(~seed);
    }

    /** The text that a failure's message should name. */
    @Override
    public String toString() {
        int[] tokens = Arrays.stream(inputs.tokens()).mapToInt(rank -> rank.length).toArray();
        return "case " + Long.toHexString(seed) + ": " + shape() + ", " + kind + ", " + format + ", hidden " + hidden
                + ", tokens " + Arrays.toString(tokens);
    }
}
