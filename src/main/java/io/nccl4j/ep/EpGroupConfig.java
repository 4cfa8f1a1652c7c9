package io.nccl4j.ep;

import io.nccl4j.internal.ConfigValues;
import java.time.Duration;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The configuration that all ranks of a group agree on, {@code ncclEpGroupConfig_t}; all must use the same values.
 * Immutable: each method returns the changed configuration, and the last of two choices counts. What is not set is left
 * to NCCL EP, unless said otherwise. {@link EpGroup#create} and {@link EpSizing#of(EpGroupConfig, int)} check the
 * values and name all that is wrong.
 */
public final class EpGroupConfig {
    private final Values values;

    private EpGroupConfig(Values values) {
        this.values = values;
    }

    private static final class Values extends ConfigValues {
        private final Algorithm algorithm;
        private int experts;
        private int maxTokensPerRank;
        private int maxTokenBytes;
        private @Nullable Layout layout;
        private int topK;
        private int alignment;
        private int receiveRows;
        private boolean eager;
        private long rdmaBufferBytes;
        private boolean growing;
        private int maxSms;
        private int dispatchSms;
        private int combineSms;
        private int queuePairs;
        private int channels;
        private boolean mask;
        private boolean checked;
        private @Nullable Duration timeout;
        private ZeroCopy zeroCopy = ZeroCopy.AUTO;
        private OverflowPolicy overflow = OverflowPolicy.AUTO;
        private @Nullable EpAllocator allocator;
        private long allocateFunction;
        private long freeFunction;
        private long allocatorContext;

        private Values(Algorithm algorithm) {
            this.algorithm = algorithm;
        }
    }

    private EpGroupConfig with(Consumer<Values> change) {
        return new EpGroupConfig(ConfigValues.changed(values, change));
    }

    /**
     * {@return a low-latency group} Besides experts, tokens and token bytes it must name its layout and top-k: all
     * handles of the group have that one shape, and the RDMA buffer is sized for it exactly.
     */
    public static EpGroupConfig lowLatency() {
        return new EpGroupConfig(new Values(Algorithm.LOW_LATENCY));
    }

    /**
     * {@return a high-throughput group} Layout and top-k are defaults for its handles. It has a fixed receive budget:
     * {@link #maxReceiveRows the one given}, else the worst case; {@link #eager()} is the alternative.
     */
    public static EpGroupConfig highThroughput() {
        return new EpGroupConfig(new Values(Algorithm.HIGH_THROUGHPUT));
    }

    /**
     * Number of experts over all ranks ({@code num_experts}); a multiple of the number of ranks. Mandatory.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig experts(int value) {
        return with(c -> c.experts = value);
    }

    /**
     * Most tokens that a rank dispatches at once ({@code max_dispatch_tokens_per_rank}). Mandatory.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig maxTokensPerRank(int value) {
        return with(c -> c.maxTokensPerRank = value);
    }

    /**
     * Most bytes of a token row with its scales, in dispatch and in combine ({@code max_token_bytes}); a multiple
     * of 16. Mandatory.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig maxTokenBytes(int value) {
        return with(c -> c.maxTokenBytes = value);
    }

    /**
     * The layout of received tokens. Mandatory for low latency, a default for high throughput.
     *
     * @param value the layout
     * @return the changed configuration
     */
    public EpGroupConfig layout(Layout value) {
        return with(c -> c.layout = value);
    }

    /**
     * Experts per token ({@code num_topk}). Mandatory for low latency, a default for high throughput.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig topK(int value) {
        return with(c -> c.topK = value);
    }

    /**
     * High throughput, EXPERT_MAJOR: the default for {@link HandleConfig#alignment(int)}; also counts in the worst
     * case.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig alignment(int value) {
        return with(c -> c.alignment = value);
    }

    /**
     * High throughput: the receive budget of a rank in rows ({@code max_recv_tokens_per_rank}), at least the tokens
     * of a rank. FLAT counts tokens, EXPERT_MAJOR the rows of all zones with their padding.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig maxReceiveRows(int value) {
        return with(c -> {
            c.receiveRows = value;
            c.eager = false;
        });
    }

    /**
     * High throughput without a budget ({@code max_recv_tokens_per_rank} AUTO): outputs are sized from the counts
     * that update writes. Dispatch then reads the count on the host, so that it cannot be captured.
     *
     * @return the changed configuration
     */
    public EpGroupConfig eager() {
        return with(c -> {
            c.receiveRows = 0;
            c.eager = true;
        });
    }

    /**
     * Low latency: bytes of the RDMA buffer ({@code rdma_buffer_size}), instead of what {@link EpSizing} computes.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig rdmaBufferBytes(long value) {
        return with(c -> {
            c.rdmaBufferBytes = value;
            c.growing = false;
        });
    }

    /**
     * Low latency: the library allocates the RDMA buffer with the first handle and replaces it by a larger one when
     * a handle needs that ({@code rdma_buffer_size} AUTO). Creating a handle is then collective, handles may have
     * other shapes than the configuration's, and growth makes all graphs of the group invalid. Operations of
     * handles of different shapes must be kept apart by a barrier among the ranks: their buffers overlap.
     *
     * @return the changed configuration
     */
    public EpGroupConfig growingRdmaBuffer() {
        return with(c -> {
            c.rdmaBufferBytes = 0;
            c.growing = true;
        });
    }

    /**
     * Most SMs that communication takes ({@code max_num_sms}); high throughput of API version 2 at most 16, later
     * releases as many as the device has.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig maxSms(int value) {
        return with(c -> c.maxSms = value);
    }

    /**
     * Most SMs that dispatch takes ({@code dispatch_num_sms}), instead of {@link #maxSms}; from release 0.2.0 on.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig dispatchSms(int value) {
        return with(c -> c.dispatchSms = value);
    }

    /**
     * Most SMs that combine takes ({@code combine_num_sms}), instead of {@link #maxSms}; from release 0.2.0 on.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig combineSms(int value) {
        return with(c -> c.combineSms = value);
    }

    /**
     * Queue pairs per rank ({@code num_qp_per_rank}); matters between NVLink domains. High throughput needs one and
     * two for each SM that dispatch takes (33 by default), low latency 4; 0 leaves it to NCCL EP.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig queuePairs(int value) {
        return with(c -> c.queuePairs = value);
    }

    /**
     * Communication channels per rank ({@code num_channels}); NCCL EP has no use for it yet.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig channels(int value) {
        return with(c -> c.channels = value);
    }

    /**
     * Looks at the device before every call that enqueues: a fault that nobody has noticed yet is then an exception
     * here. Without this the next high-throughput call ends the process in the real library. Costs a query per
     * stream and call; off by default.
     *
     * @return the changed configuration
     */
    public EpGroupConfig checked() {
        return with(c -> c.checked = true);
    }

    /**
     * Low latency: ranks that do not answer can be masked ({@code enable_mask}); see {@link RankMask}.
     *
     * @return the changed configuration
     */
    public EpGroupConfig mask() {
        return with(c -> c.mask = true);
    }

    /**
     * Low latency: how long the device waits for a rank ({@code timeout_ns}), about 100 s by default. Afterwards it
     * masks the rank, or traps without {@link #mask()}. Whole milliseconds.
     *
     * @param value the limit
     * @return the changed configuration
     */
    public EpGroupConfig timeout(Duration value) {
        return with(c -> c.timeout = value);
    }

    /**
     * Direct use of windows ({@code zero_copy}).
     *
     * @param value the setting
     * @return the changed configuration
     */
    public EpGroupConfig zeroCopy(ZeroCopy value) {
        return with(c -> c.zeroCopy = value);
    }

    /**
     * The treatment of rows beyond the budget ({@code overflow_policy}).
     *
     * @param value the policy
     * @return the changed configuration
     */
    public EpGroupConfig overflow(OverflowPolicy value) {
        return with(c -> c.overflow = value);
    }

    /**
     * Who allocates workspace and handle memory ({@code alloc}); {@code cudaMalloc} by default.
     *
     * @param value the allocator
     * @return the changed configuration
     */
    public EpGroupConfig allocator(EpAllocator value) {
        return with(c -> {
            c.allocator = value;
            c.allocateFunction = 0;
            c.freeFunction = 0;
        });
    }

    /**
     * Native functions that allocate and free ({@code alloc}): {@code cudaError_t(void**, size_t, void*)} and
     * {@code cudaError_t(void*, void*)}. If one fails, the library ends the process.
     *
     * @param allocateFunction address of the function that allocates
     * @param freeFunction address of the function that frees
     * @param context passed to them
     * @return the changed configuration
     */
    public EpGroupConfig allocator(long allocateFunction, long freeFunction, long context) {
        if (allocateFunction == 0 || freeFunction == 0) {
            throw new IllegalArgumentException("functions to allocate and to free must both be given");
        }
        return with(c -> {
            c.allocator = null;
            c.allocateFunction = allocateFunction;
            c.freeFunction = freeFunction;
            c.allocatorContext = context;
        });
    }

    /** {@return LL or HT} */
    public Algorithm algorithm() {
        return values.algorithm;
    }

    /** {@return number of experts over all ranks} */
    public int experts() {
        return values.experts;
    }

    /** {@return most tokens that a rank dispatches at once} */
    public int maxTokensPerRank() {
        return values.maxTokensPerRank;
    }

    /** {@return most bytes of a token row with its scales} */
    public int maxTokenBytes() {
        return values.maxTokenBytes;
    }

    /** {@return the layout of the group (LL) or the default of its handles (HT); null if there is none} */
    public @Nullable Layout layout() {
        return values.layout;
    }

    /** {@return top-k of the group (LL) or the default of its handles (HT); 0 if there is none} */
    public int topK() {
        return values.topK;
    }

    /** {@return the default alignment of experts' zones; 0 if there is none} */
    public int alignment() {
        return values.alignment;
    }

    /** {@return the receive budget in rows as given; 0 if none was} */
    public int receiveRows() {
        return values.receiveRows;
    }

    /** {@return whether outputs are sized from counts instead of a budget} */
    public boolean isEager() {
        return values.eager;
    }

    /** {@return whether the library sizes the RDMA buffer as handles come} */
    public boolean isGrowing() {
        return values.growing;
    }

    /** {@return whether ranks can be masked} */
    public boolean hasMask() {
        return values.mask;
    }

    /** {@return whether the device is looked at before every call} */
    public boolean isChecked() {
        return values.checked;
    }

    /** {@return direct use of windows} */
    public ZeroCopy zeroCopy() {
        return values.zeroCopy;
    }

    /** {@return the treatment of rows beyond the budget} */
    public OverflowPolicy overflow() {
        return values.overflow;
    }

    /** 0 if not given. */
    long rdmaBufferBytes() {
        return values.rdmaBufferBytes;
    }

    /** 0 if not given. */
    int maxSms() {
        return values.maxSms;
    }

    /** 0 if not given. */
    int dispatchSms() {
        return values.dispatchSms;
    }

    /** 0 if not given. */
    int combineSms() {
        return values.combineSms;
    }

    /** 0 if not given. */
    int queuePairs() {
        return values.queuePairs;
    }

    /** 0 if not given. */
    int channels() {
        return values.channels;
    }

    @Nullable
    Duration timeout() {
        return values.timeout;
    }

    @Nullable
    EpAllocator allocator() {
        return values.allocator;
    }

    long allocateFunction() {
        return values.allocateFunction;
    }

    long freeFunction() {
        return values.freeFunction;
    }

    long allocatorContext() {
        return values.allocatorContext;
    }

    @Override
    public String toString() {
        return values.algorithm + ", experts " + values.experts + ", maxTokensPerRank " + values.maxTokensPerRank
                + ", maxTokenBytes " + values.maxTokenBytes + (values.layout == null ? "" : ", layout " + values.layout)
                + (values.topK == 0 ? "" : ", topK " + values.topK);
    }
}
