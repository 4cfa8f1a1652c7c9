package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;

/**
 * The memory that a group takes, before anything is allocated. Pure arithmetic: no library, no device. Handle memory is
 * asked of the library instead: {@link EpGroup#handleMemoryBytes(Layout, int)}. The environment variables by which NCCL
 * EP chooses how EXPERT_MAJOR works count as they do there.
 */
public final class EpSizing {
    /** Of every group, from its allocator. */
    static final long WORKSPACE_BYTES = 32L << 20;
    private static final int WINDOW_ALIGNMENT = 256;
    private static final int PAGE = 4096;
    private static final int DEFAULT_CHUNK = 64;
    private static final int CHUNK_MULTIPLE = 32;
    private static final int FLAG_BYTES = 8;

    private final GroupShape group;

    EpSizing(GroupShape group) {
        this.group = group;
    }

    /**
     * {@return sizes for every rank of a group whose ranks all reach each other by NVLink}
     *
     * @param config the configuration, the same on all ranks
     * @param ranks of its communicator; experts must be a multiple of it
     * @throws IllegalArgumentException if the configuration misses something, or its values do not go together; names
     *     all that is wrong
     */
    public static EpSizing of(EpGroupConfig config, int ranks) {
        return of(config, ranks, 1);
    }

    /**
     * {@return sizes for every rank of a group over several LSA teams, as a rule hosts}
     *
     * @param config the configuration, the same on all ranks
     * @param ranks of its communicator; experts must be a multiple of it
     * @param teams into which the ranks are divided
     * @throws IllegalArgumentException if the configuration misses something, or its values do not go together; names
     *     all that is wrong
     */
    public static EpSizing of(EpGroupConfig config, int ranks, int teams) {
        GroupRules.checkConfig(config);
        Rule.EXPERTS_PER_RANK.refuseIf(ranks <= 0 || config.experts() % ranks != 0,
                "%d experts on %d ranks: must be a multiple of the number of ranks", config.experts(), ranks);
        Rule.TEAM_LIMITS.refuseIf(teams <= 0 || ranks % teams != 0,
                "%d teams of %d ranks: the number of ranks must be a multiple of it", teams, ranks);
        return new EpSizing(GroupShape.of(config, ranks, teams, DeviceLimits.ANY));
    }

    /**
     * {@return the length to which rows must be padded so that a whole layer can move them: a multiple of 512 elements
     * in low latency, of 16 bytes and 8 elements in high throughput}
     *
     * @param algorithm LL or HT
     * @param hidden elements of a row of the model
     * @param type type of the elements
     * @throws IllegalArgumentException if it is not positive
     */
    public static int paddedHidden(Algorithm algorithm, int hidden, DataType type) {
        Rule.ROW_LENGTH.refuseIf(hidden <= 0, "hidden is %d: must be positive", hidden);
        int multiple = algorithm == Algorithm.LOW_LATENCY
                ? RowRules.LL_PACKET
                : Math.max(RowRules.HT_PACKET, 16 / type.byteSize());
        return Sizes.number("padded hidden", Sizes.alignUp(hidden, multiple));
    }

    /**
     * {@return the next number of experts, from {@code experts} on, that a group on so many ranks can have; the further
     * ones get no token}
     *
     * @param algorithm LL or HT
     * @param experts number of experts over all ranks, at least 1
     * @param ranks number of ranks
     * @throws IllegalArgumentException if a number is not positive
     */
    public static int paddedExperts(Algorithm algorithm, int experts, int ranks) {
        Rule.EXPERTS_PER_RANK.refuseIf(experts < 0 || ranks <= 0, "%d experts on %d ranks: must be positive", experts,
                ranks);
        return GroupShape.paddedExperts(algorithm, experts, ranks, 1);
    }

    /** {@return experts of a rank} */
    public int localExperts() {
        return group.localExperts();
    }

    /**
     * {@return bytes of the RDMA buffer that a low-latency group registers for its layout and top-k; 0 for high
     * throughput}
     */
    public long rdmaBufferBytes() {
        return RdmaBuffer.bytes(group);
    }

    /**
     * {@return bytes of the window that a high-throughput group registers for the ranks of its own team; 0 for low
     * latency}
     */
    public long windowBytes() {
        if (group.isLowLatency()) {
            return 0;
        }
        EpGroupConfig c = group.config();
        long rows = receiveRows();
        long staged = group.mode() == ExpertMajorMode.LOCAL_PERMUTE
                ? (long) group.ranks() * c.maxTokensPerRank()
                : rows;
        long tokens = c.zeroCopy() == ZeroCopy.ON
                ? 0
                : Sizes.alignUp(Sizes.product("staged bytes", staged, c.maxTokenBytes()), WINDOW_ALIGNMENT);
        long weights = Sizes.alignUp(Sizes.product("bytes of weights", rows, group.teamExperts(), Float.BYTES),
                WINDOW_ALIGNMENT);
        long scales = Sizes.alignUp(Sizes.product("bytes of scales", rows, c.maxTokenBytes()), WINDOW_ALIGNMENT);
        return Sizes.sum("bytes of the window", tokens, tokens, weights, weights, scales);
    }

    /**
     * {@return bytes in which a high-throughput group over several teams keeps what goes to other teams and comes from
     * there; 0 for one team, and for low latency}
     */
    public long interTeamBytes() {
        if (group.isLowLatency() || !group.hasSeveralTeams()) {
            return 0;
        }
        EpGroupConfig c = group.config();
        long others = group.teams() - 1;
        long tokens = c.maxTokensPerRank();
        long tokenBytes = c.maxTokenBytes();
        long weightBytes = (long) group.teamExperts() * Float.BYTES;
        int chunk = chunk();
        long inChunks = Sizes.alignUp(tokens, chunk);
        long sums = pages(inChunks, others, tokenBytes);
        long gradients = pages(inChunks, others, weightBytes);
        long flags = pages(others, inChunks / chunk, FLAG_BYTES);
        long marks = pages(group.teams(), FLAG_BYTES);
        long packedRows = pages(others, tokens, tokenBytes + weightBytes);
        long own = Sizes.sum("bytes for the network", pages(tokens, tokenBytes),
                pages(tokens, c.experts(), Float.BYTES));
        return Sizes.sum("bytes for the network", own, sums, sums, gradients, gradients, flags, flags, marks, marks,
                packedRows, packedRows);
    }

    /** Tokens that travel together. */
    private static int chunk() {
        String value = ExpertMajorMode.environment.apply("NCCL_EP_TOKENS_PER_CHUNK");
        if (value == null || !value.matches("[0-9]{1,7}") || Integer.parseInt(value) == 0) {
            return DEFAULT_CHUNK;
        }
        return (int) Sizes.alignUp(Integer.parseInt(value), CHUNK_MULTIPLE);
    }

    private static long pages(long... factors) {
        return Sizes.alignUp(Sizes.product("bytes for the network", factors), PAGE);
    }

    /**
     * {@return bytes of device memory that creating the group takes on every rank: its workspace, and the RDMA buffer,
     * or the window and the memory for other teams} Handles and buffers come on top: {@link
     * EpGroup#handleMemoryBytes}, {@link #buffersBytes(BufferConfig)}.
     */
    public long groupBytes() {
        EpGroupConfig c = group.config();
        long exact = c.isGrowing() ? 0 : Math.max(rdmaBufferBytes(), c.rdmaBufferBytes());
        return Sizes.sum("bytes of the group", WORKSPACE_BYTES, exact, windowBytes(), interTeamBytes());
    }

    /**
     * {@return the most rows that a rank may receive: the budget of a high-throughput group (in its eager mode the
     * bound on what can come), all zones or regions of a low-latency one}
     */
    public long receiveRows() {
        return group.receiveRows();
    }

    /**
     * {@return bytes of the tokens that a rank may receive, {@code outputs.tokens} of dispatch}
     *
     * @param hidden elements of a row
     * @param type type of the elements
     */
    public long receivedBytes(int hidden, DataType type) {
        return Sizes.product("received bytes", receiveRows(), hidden, type.byteSize());
    }

    /**
     * {@return {@link #buffersBytes(BufferConfig)} for rows that travel as they are}
     *
     * @param hidden elements of a row
     * @param type type of the elements
     */
    public long buffersBytes(int hidden, DataType type) {
        return buffersBytes(BufferConfig.of(hidden, type));
    }

    /**
     * {@return bytes of {@link EpHandle#allocateBuffers(BufferConfig)} for the layout and top-k of the configuration}
     * The rules for the rows are checked, so that they are told before a group exists.
     *
     * @param rows type, length and quantisation of the rows
     * @throws IllegalArgumentException if the group cannot move such rows
     * @throws IllegalStateException if the configuration names no layout or no top-k
     */
    public long buffersBytes(BufferConfig rows) {
        EpGroupConfig config = group.config();
        Layout layout = config.layout();
        if (layout == null || config.topK() == 0) {
            throw new IllegalStateException(
                    "the configuration names no layout or no top-k: buffers have no size without");
        }
        HandleShape shape = new HandleShape(group, layout, config.topK(), 0);
        Violations violations = new Violations();
        checkRows(shape, rows, violations);
        violations.refuse();
        return LayerTensors.of(shape, rows).totalBytes();
    }

    /** The rules that rows of buffers would break in dispatch or combine. */
    static void checkRows(HandleShape shape, BufferConfig rows, Violations v) {
        DispatchRules.checkFormat(shape, rows.format(), v);
        CombineRules.checkFormat(shape, rows.combineRecipe(), rows.type(), rows.hidden(), v);
    }

    @Override
    public String toString() {
        return "EpSizing(" + group.config() + ", " + group.teamsText() + ")";
    }
}
