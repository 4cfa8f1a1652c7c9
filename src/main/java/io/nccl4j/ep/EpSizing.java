package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/**
 * What a group takes in memory, before anything is allocated. Pure arithmetic: no library, no device. Handle memory is asked of
 * the library instead: {@link EpGroup#handleMemoryBytes(Layout, int)}. The environment variables by which NCCL EP chooses how
 * EXPERT_MAJOR works count as they do there.
 */
public final class EpSizing {
    private static final int WINDOW_ALIGNMENT = 256;
    private static final int BUFFER_ALIGNMENT = 128;

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
        Rule.EXPERTS_PER_RANK.require(ranks > 0 && config.experts() % ranks == 0,
                "%d experts on %d ranks: must be a multiple of the number of ranks", config.experts(), ranks);
        return new EpSizing(config, ranks);
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
        return alignUp(Math.addExact(Math.multiplyExact(2L, regions.slotBytes()), 2 * regions.signalBytes()),
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
        ExpertMajorMode mode = ExpertMajorMode.of(config.zeroCopy(), EpGeneration.API_V2);
        long staged = mode == ExpertMajorMode.LOCAL_PERMUTE ? (long) ranks * config.maxTokensPerRank() : rows;
        long tokens = config.zeroCopy() == ZeroCopy.ON
                ? 0
                : alignUp(Math.multiplyExact(staged, config.maxTokenBytes()), WINDOW_ALIGNMENT);
        long weights = alignUp(Math.multiplyExact(rows, (long) config.experts() * Float.BYTES), WINDOW_ALIGNMENT);
        long scales = alignUp(Math.multiplyExact(rows, config.maxTokenBytes()), WINDOW_ALIGNMENT);
        return Math.addExact(2 * tokens, Math.addExact(2 * weights, scales));
    }

    /**
     * The most rows that a rank may receive: the budget of a high-throughput group (in its eager mode the bound on what can
     * come), all zones or regions of a low-latency one.
     */
    public long receiveRows() {
        Layout layout = config.layout();
        if (config.algorithm() == Algorithm.LOW_LATENCY) {
            long perZone = (long) ranks * config.maxTokensPerRank();
            return layout == Layout.EXPERT_MAJOR ? Math.multiplyExact(perZone, localExperts()) : perZone;
        }
        if (config.isEager()) {
            return Math.multiplyExact((long) ranks * config.maxTokensPerRank(), Math.max(config.topK(), 1));
        }
        return config.receiveRows() > 0
                ? config.receiveRows()
                : worstCaseRows(layout, config.topK() > 0 ? config.topK() : config.experts(),
                        Math.max(1, config.alignment()));
    }

    /** Every token comes to this rank: once in FLAT, else once for each expert it can have here, zones padded. */
    long worstCaseRows(@Nullable Layout layout, int topK, long alignment) {
        long tokens = (long) ranks * config.maxTokensPerRank();
        boolean permute = ExpertMajorMode.of(config.zeroCopy(), EpGeneration.API_V2) == ExpertMajorMode.LOCAL_PERMUTE;
        if (layout == Layout.FLAT && permute) {
            return tokens;
        }
        // The modes that duplicate rows demand a row for every top-k entry.
        long entries = Math.multiplyExact(tokens, permute ? Math.min(topK, localExperts()) : topK);
        return layout == Layout.FLAT
                ? entries
                : alignUp(Math.addExact(entries, localExperts() * (alignment - 1)), alignment);
    }

    /** Bytes of the tokens that a rank may receive, {@code outputs.tokens} of dispatch. */
    public long receivedBytes(int hidden, DataType type) {
        return Math.multiplyExact(receiveRows(), (long) hidden * type.byteSize());
    }

    /** {@link #buffersBytes(BufferConfig)} for rows that travel as they are. */
    public long buffersBytes(int hidden, DataType type) {
        return buffersBytes(BufferConfig.of(hidden, type));
    }

    /**
     * Bytes of {@link EpHandle#allocateBuffers(BufferConfig)} for the layout and top-k of the configuration.
     *
     * @throws IllegalStateException if the configuration names no layout or no top-k
     */
    public long buffersBytes(BufferConfig rows) {
        Layout layout = config.layout();
        if (layout == null || config.topK() == 0) {
            throw new IllegalStateException(
                    "the configuration names no layout or no top-k: buffers have no size without");
        }
        return BufferShapes.of(config, this, ranks, layout, config.topK(), receiveRows(), rows).totalBytes();
    }

    static long alignUp(long value, long alignment) {
        return Math.multiplyExact(Math.ceilDiv(value, alignment), alignment);
    }

    @Override
    public String toString() {
        return "EpSizing(" + config + ", " + ranks + " ranks)";
    }
}
