package io.nccl4j.ep;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The configuration that all ranks of a group agree on, {@code ncclEpGroupConfig_t}; all must use the same values.
 * Immutable; made by {@link #lowLatency()} or {@link #highThroughput()}. What is not set is left to NCCL EP, unless
 * said otherwise.
 */
public final class EpGroupConfig {
    private final GroupShape shape;
    private final boolean checked;
    private final @Nullable EpAllocator allocator;
    private final long allocateFunction;
    private final long freeFunction;
    private final long allocatorContext;

    private EpGroupConfig(Builder b) {
        this.shape = new GroupShape(b.algorithm, b.experts, b.maxTokensPerRank, b.maxTokenBytes, b.layout, b.topK,
                b.alignment, b.receiveRows, b.eager, b.rdmaBufferBytes, b.growing, b.maxSms, b.dispatchSms,
                b.combineSms, b.queuePairs, b.channels, b.mask, b.timeout, b.zeroCopy, b.overflow);
        this.checked = b.checked;
        this.allocator = b.allocator;
        this.allocateFunction = b.allocateFunction;
        this.freeFunction = b.freeFunction;
        this.allocatorContext = b.allocatorContext;
    }

    /**
     * {@return a low-latency group} Besides experts, tokens and token bytes it must name its layout and top-k: all
     * handles of the group have that one shape, and the RDMA buffer is sized for it exactly.
     */
    public static Builder lowLatency() {
        return new Builder(Algorithm.LOW_LATENCY);
    }

    /**
     * {@return a high-throughput group} Layout and top-k are defaults for its handles. It has a fixed receive budget:
     * {@link Builder#maxReceiveRows the one given}, else the worst case; {@link Builder#eager()} is the alternative.
     */
    public static Builder highThroughput() {
        return new Builder(Algorithm.HIGH_THROUGHPUT);
    }

    /** Collects the values. */
    public static final class Builder {
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

        private Builder(Algorithm algorithm) {
            this.algorithm = algorithm;
        }

        /**
         * Number of experts over all ranks ({@code num_experts}); a multiple of the number of ranks. Mandatory.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder experts(int value) {
            experts = value;
            return this;
        }

        /**
         * Most tokens that a rank dispatches at once ({@code max_dispatch_tokens_per_rank}). Mandatory.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder maxTokensPerRank(int value) {
            maxTokensPerRank = value;
            return this;
        }

        /**
         * Most bytes of a token row with its scales, in dispatch and in combine ({@code max_token_bytes}); a multiple
         * of 16. Mandatory.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder maxTokenBytes(int value) {
            maxTokenBytes = value;
            return this;
        }

        /**
         * The layout of received tokens. Mandatory for low latency, a default for high throughput.
         *
         * @param value the layout
         * @return this builder
         */
        public Builder layout(Layout value) {
            layout = value;
            return this;
        }

        /**
         * Experts per token ({@code num_topk}). Mandatory for low latency, a default for high throughput.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder topK(int value) {
            topK = value;
            return this;
        }

        /**
         * High throughput, EXPERT_MAJOR: the default for {@link HandleConfig#alignment(int)}; also counts in the worst
         * case.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder alignment(int value) {
            alignment = value;
            return this;
        }

        /**
         * High throughput: the receive budget of a rank in rows ({@code max_recv_tokens_per_rank}), at least the tokens
         * of a rank. FLAT counts tokens, EXPERT_MAJOR the rows of all zones with their padding.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder maxReceiveRows(int value) {
            receiveRows = value;
            eager = false;
            return this;
        }

        /**
         * High throughput without a budget ({@code max_recv_tokens_per_rank} AUTO): outputs are sized from the counts
         * that update writes. Dispatch then reads the count on the host, so that it cannot be captured.
         *
         * @return this builder
         */
        public Builder eager() {
            receiveRows = 0;
            eager = true;
            return this;
        }

        /**
         * Low latency: bytes of the RDMA buffer ({@code rdma_buffer_size}), instead of what {@link EpSizing} computes.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder rdmaBufferBytes(long value) {
            rdmaBufferBytes = value;
            growing = false;
            return this;
        }

        /**
         * Low latency: the library allocates the RDMA buffer with the first handle and replaces it by a larger one when
         * a handle needs that ({@code rdma_buffer_size} AUTO). Creating a handle is then collective, handles may have
         * other shapes than the configuration's, and growth makes all graphs of the group invalid. Operations of
         * handles of different shapes must be kept apart by a barrier among the ranks: their buffers overlap.
         *
         * @return this builder
         */
        public Builder growingRdmaBuffer() {
            rdmaBufferBytes = 0;
            growing = true;
            return this;
        }

        /**
         * Most SMs that communication takes ({@code max_num_sms}); high throughput of API version 2 at most 16, later
         * releases as many as the device has.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder maxSms(int value) {
            maxSms = value;
            return this;
        }

        /**
         * Most SMs that dispatch takes ({@code dispatch_num_sms}), instead of {@link #maxSms}; from release 0.2.0 on.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder dispatchSms(int value) {
            dispatchSms = value;
            return this;
        }

        /**
         * Most SMs that combine takes ({@code combine_num_sms}), instead of {@link #maxSms}; from release 0.2.0 on.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder combineSms(int value) {
            combineSms = value;
            return this;
        }

        /**
         * Queue pairs per rank ({@code num_qp_per_rank}); matters between NVLink domains. High throughput needs one and
         * two for each SM that dispatch takes (33 by default), low latency 4; 0 leaves it to NCCL EP.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder queuePairs(int value) {
            queuePairs = value;
            return this;
        }

        /**
         * Communication channels per rank ({@code num_channels}); NCCL EP has no use for it yet.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder channels(int value) {
            channels = value;
            return this;
        }

        /**
         * Looks at the device before every call that enqueues: a fault that nobody has noticed yet is then an exception
         * here. Without this the next high-throughput call ends the process in the real library. Costs a query per
         * stream and call; off by default.
         *
         * @return this builder
         */
        public Builder checked() {
            checked = true;
            return this;
        }

        /**
         * Low latency: ranks that do not answer can be masked ({@code enable_mask}); see {@link RankMask}.
         *
         * @return this builder
         */
        public Builder mask() {
            mask = true;
            return this;
        }

        /**
         * Low latency: how long the device waits for a rank ({@code timeout_ns}), about 100 s by default. Afterwards it
         * masks the rank, or traps without {@link #mask()}. Whole milliseconds.
         *
         * @param value the limit
         * @return this builder
         */
        public Builder timeout(Duration value) {
            timeout = value;
            return this;
        }

        /**
         * Direct use of windows ({@code zero_copy}).
         *
         * @param value the setting
         * @return this builder
         */
        public Builder zeroCopy(ZeroCopy value) {
            zeroCopy = value;
            return this;
        }

        /**
         * The treatment of rows beyond the budget ({@code overflow_policy}).
         *
         * @param value the policy
         * @return this builder
         */
        public Builder overflow(OverflowPolicy value) {
            overflow = value;
            return this;
        }

        /**
         * Who allocates workspace and handle memory ({@code alloc}); {@code cudaMalloc} by default.
         *
         * @param value the allocator
         * @return this builder
         */
        public Builder allocator(EpAllocator value) {
            allocator = value;
            allocateFunction = 0;
            freeFunction = 0;
            return this;
        }

        /**
         * Native functions that allocate and free ({@code alloc}): {@code cudaError_t(void**, size_t, void*)} and
         * {@code cudaError_t(void*, void*)}. If one fails, the library ends the process.
         *
         * @param allocateFunction address of the function that allocates
         * @param freeFunction address of the function that frees
         * @param context passed to them
         * @return this builder
         */
        public Builder allocator(long allocateFunction, long freeFunction, long context) {
            if (allocateFunction == 0 || freeFunction == 0) {
                throw new IllegalArgumentException("functions to allocate and to free must both be given");
            }
            this.allocator = null;
            this.allocateFunction = allocateFunction;
            this.freeFunction = freeFunction;
            this.allocatorContext = context;
            return this;
        }

        /**
         * {@return the configuration}
         *
         * @throws IllegalArgumentException if something mandatory is missing, or values do not go together; names all
         *     that is wrong
         */
        public EpGroupConfig build() {
            EpGroupConfig config = new EpGroupConfig(this);
            Violations violations = new Violations();
            GroupRules.checkConfig(config.shape, violations);
            violations.refuse();
            return config;
        }
    }

    GroupShape shape() {
        return shape;
    }

    /** {@return LL or HT} */
    public Algorithm algorithm() {
        return shape.algorithm();
    }

    /** {@return number of experts over all ranks} */
    public int experts() {
        return shape.experts();
    }

    /** {@return most tokens that a rank dispatches at once} */
    public int maxTokensPerRank() {
        return shape.maxTokensPerRank();
    }

    /** {@return most bytes of a token row with its scales} */
    public int maxTokenBytes() {
        return shape.maxTokenBytes();
    }

    /** {@return the layout of the group (LL) or the default of its handles (HT); null if there is none} */
    public @Nullable Layout layout() {
        return shape.layout();
    }

    /** {@return top-k of the group (LL) or the default of its handles (HT); 0 if there is none} */
    public int topK() {
        return shape.topK();
    }

    /** {@return the default alignment of experts' zones; 0 if there is none} */
    public int alignment() {
        return shape.alignment();
    }

    /** {@return the receive budget in rows as given; 0 if none was} */
    public int receiveRows() {
        return shape.receiveRows();
    }

    /** {@return whether outputs are sized from counts instead of a budget} */
    public boolean isEager() {
        return shape.isEager();
    }

    /** {@return whether the library sizes the RDMA buffer as handles come} */
    public boolean isGrowing() {
        return shape.isGrowing();
    }

    /** {@return whether ranks can be masked} */
    public boolean hasMask() {
        return shape.hasMask();
    }

    /** {@return whether the device is looked at before every call} */
    public boolean isChecked() {
        return checked;
    }

    /** {@return direct use of windows} */
    public ZeroCopy zeroCopy() {
        return shape.zeroCopy();
    }

    /** {@return the treatment of rows beyond the budget} */
    public OverflowPolicy overflow() {
        return shape.overflow();
    }

    long rdmaBufferBytes() {
        return shape.rdmaBufferBytes();
    }

    int maxSms() {
        return shape.maxSms();
    }

    int queuePairs() {
        return shape.queuePairs();
    }

    int channels() {
        return shape.channels();
    }

    @Nullable
    Duration timeout() {
        return shape.timeout();
    }

    @Nullable
    EpAllocator allocator() {
        return allocator;
    }

    long allocateFunction() {
        return allocateFunction;
    }

    long freeFunction() {
        return freeFunction;
    }

    long allocatorContext() {
        return allocatorContext;
    }

    @Override
    public String toString() {
        return shape.algorithm() + ", experts " + shape.experts() + ", maxTokensPerRank " + shape.maxTokensPerRank()
                + ", maxTokenBytes " + shape.maxTokenBytes()
                + (shape.layout() == null ? "" : ", layout " + shape.layout())
                + (shape.topK() == 0 ? "" : ", topK " + shape.topK());
    }
}
