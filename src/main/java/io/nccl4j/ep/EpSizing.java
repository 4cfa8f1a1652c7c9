package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * What a group takes in memory, before anything is allocated. Pure arithmetic: no library, no device. Handle memory is asked of
 * the library instead: {@link EpGroup#handleMemoryBytes(Layout, int)}. The environment variables by which NCCL EP chooses how
 * EXPERT_MAJOR works count as they do there.
 */
public final class EpSizing {
    private static final int WINDOW_ALIGNMENT = 256;
    private static final int BUFFER_ALIGNMENT = 128;
    /** A low-latency layer moves rows of so many elements, or a multiple. */
    static final int LL_PACKET = 512;
    /** A high-throughput combine adds so many elements at a time. */
    static final int HT_PACKET = 8;

    private final EpGroupConfig config;
    private final int ranks;

    private EpSizing(EpGroupConfig config, int ranks) {
        this.config = config;
        this.ranks = ranks;
    }

    /**
     * Sizes for every rank of a group.
     *
     * @param ranks of its communicator; experts must be a multiple of it
     */
    public static EpSizing of(EpGroupConfig config, int ranks) {
        Rule.EXPERTS_PER_RANK.refuseIf(ranks <= 0 || config.experts() % ranks != 0,
                "%d experts on %d ranks: must be a multiple of the number of ranks", config.experts(), ranks);
        return new EpSizing(config, ranks);
    }

    /**
     * The length to which rows must be padded so that a whole layer can move them: a multiple of 512 elements in low latency, of 16
     * bytes and 8 elements in high throughput.
     *
     * @param hidden elements of a row of the model
     * @throws IllegalArgumentException if it is not positive
     */
    public static int paddedHidden(Algorithm algorithm, int hidden, DataType type) {
        Rule.ROW_LENGTH.refuseIf(hidden <= 0, "hidden is %d: must be positive", hidden);
        int multiple = algorithm == Algorithm.LOW_LATENCY
                ? LL_PACKET
                : Math.max(HT_PACKET, 16 / type.byteSize());
        return Math.toIntExact(alignUp(hidden, multiple));
    }

    /**
     * The next number of experts, from {@code experts} on, that a group on so many ranks can have; the further ones get no token.
     *
     * @throws IllegalArgumentException if a number is not positive
     */
    public static int paddedExperts(Algorithm algorithm, int experts, int ranks) {
        Rule.EXPERTS_PER_RANK.refuseIf(experts < 0 || ranks <= 0, "%d experts on %d ranks: must be positive", experts,
                ranks);
        int multiple = ranks;
        while (algorithm == Algorithm.HIGH_THROUGHPUT && multiple % 4 != 0) {
            multiple += ranks;
        }
        return Math.toIntExact(alignUp(Math.max(1, experts), multiple));
    }

    /** Experts of a rank. */
    public int localExperts() {
        return config.experts() / ranks;
    }

    /** Bytes of the RDMA buffer that a low-latency group registers for its layout and top-k; 0 for high throughput. */
    public long rdmaBufferBytes() {
        Layout layout = config.layout();
        return config.algorithm() == Algorithm.LOW_LATENCY && layout != null
                ? rdmaBufferBytes(layout, config.topK())
                : 0;
    }

    long rdmaBufferBytes(Layout layout, int topK) {
        LowLatencyRegions regions = LowLatencyRegions.of(config, ranks, layout, topK);
        return alignUp(product("bytes of the RDMA buffer", 2, regions.slotBytes() + regions.signalBytes()),
                BUFFER_ALIGNMENT);
    }

    /**
     * Bytes of the window that a high-throughput group registers, if all ranks can reach each other's memory; 0 for low latency.
     */
    public long windowBytes() {
        if (config.algorithm() == Algorithm.LOW_LATENCY) {
            return 0;
        }
        long rows = receiveRows();
        ExpertMajorMode mode = ExpertMajorMode.of(config.zeroCopy());
        long staged = mode == ExpertMajorMode.LOCAL_PERMUTE ? (long) ranks * config.maxTokensPerRank() : rows;
        long tokens = config.zeroCopy() == ZeroCopy.ON
                ? 0
                : alignUp(product("staged bytes", staged, config.maxTokenBytes()), WINDOW_ALIGNMENT);
        long weights = alignUp(product("bytes of weights", rows, config.experts(), Float.BYTES), WINDOW_ALIGNMENT);
        long scales = alignUp(product("bytes of scales", rows, config.maxTokenBytes()), WINDOW_ALIGNMENT);
        return sum("bytes of the window", tokens, tokens, weights, weights, scales);
    }

    /**
     * The most rows that a rank may receive: the budget of a high-throughput group (in its eager mode the bound on what can
     * come), all zones or regions of a low-latency one.
     */
    public long receiveRows() {
        Layout layout = config.layout();
        if (config.algorithm() == Algorithm.LOW_LATENCY) {
            long perZone = (long) ranks * config.maxTokensPerRank();
            return layout == Layout.EXPERT_MAJOR ? product("received rows", perZone, localExperts()) : perZone;
        }
        if (config.isEager()) {
            return product("received rows", ranks, config.maxTokensPerRank(), Math.max(config.topK(), 1));
        }
        return config.receiveRows() > 0
                ? config.receiveRows()
                : worstCaseRows(layout, config.topK() > 0 ? config.topK() : config.experts(),
                        Math.max(1, config.alignment()));
    }

    /** Every token comes to this rank: once in FLAT, else once for each expert it can have here, zones padded. */
    long worstCaseRows(@Nullable Layout layout, int topK, long alignment) {
        long tokens = (long) ranks * config.maxTokensPerRank();
        boolean permute = ExpertMajorMode.of(config.zeroCopy()) == ExpertMajorMode.LOCAL_PERMUTE;
        if (layout == Layout.FLAT && permute) {
            return tokens;
        }
        // The modes that duplicate rows demand a row for every top-k entry.
        long entries = product("received rows", tokens, permute ? Math.min(topK, localExperts()) : topK);
        return layout == Layout.FLAT
                ? entries
                : alignUp(sum("received rows", entries, product("padding", localExperts(), alignment - 1)), alignment);
    }

    /** Bytes of the tokens that a rank may receive, {@code outputs.tokens} of dispatch. */
    public long receivedBytes(int hidden, DataType type) {
        return product("received bytes", receiveRows(), hidden, type.byteSize());
    }

    /** {@link #buffersBytes(BufferConfig)} for rows that travel as they are. */
    public long buffersBytes(int hidden, DataType type) {
        return buffersBytes(BufferConfig.of(hidden, type));
    }

    /**
     * Bytes of {@link EpHandle#allocateBuffers(BufferConfig)} for the layout and top-k of the configuration. The rules for the rows
     * are checked, so that they are told before a group exists.
     *
     * @throws IllegalArgumentException if the group cannot move such rows
     * @throws IllegalStateException if the configuration names no layout or no top-k
     */
    public long buffersBytes(BufferConfig rows) {
        Layout layout = config.layout();
        if (layout == null || config.topK() == 0) {
            throw new IllegalStateException(
                    "the configuration names no layout or no top-k: buffers have no size without");
        }
        HandleShape shape = HandleShape.of(config, ranks, layout, config.topK(), 0, DeviceLimits.ANY);
        Violations violations = new Violations();
        RecipeRules.checkBuffers(shape, rows, violations);
        violations.refuse();
        return LayerTensors.of(shape, rows).totalBytes();
    }

    /** @throws IllegalArgumentException naming the product, if it is none of 63 bits */
    static long product(String name, long... factors) {
        long result = 1;
        for (long factor : factors) {
            if (factor < 0 || factor != 0 && result > Long.MAX_VALUE / factor) {
                throw tooLarge(name, " x ", factors);
            }
            result *= factor;
        }
        return result;
    }

    static long sum(String name, long... terms) {
        long result = 0;
        for (long term : terms) {
            if (term > Long.MAX_VALUE - result) {
                throw tooLarge(name, " + ", terms);
            }
            result += term;
        }
        return result;
    }

    private static IllegalArgumentException tooLarge(String name, String operator, long... values) {
        return new IllegalArgumentException(name + ": " + LongStream.of(values).mapToObj(Long::toString)
                .collect(Collectors.joining(operator)) + " is not a number from 0 to 2^63 - 1");
    }

    static long alignUp(long value, long alignment) {
        if (value > Long.MAX_VALUE - alignment) {
            throw tooLarge("the next multiple of " + alignment, " + ", value, alignment);
        }
        return Math.ceilDiv(value, alignment) * alignment;
    }

    @Override
    public String toString() {
        return "EpSizing(" + config + ", " + ranks + " ranks)";
    }
}
