package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpLayoutInfo_t;
import org.jspecify.annotations.Nullable;

/**
 * Where received tokens lie, {@code ncclEpLayoutInfo_t}: counters that the device writes. High throughput takes it in
 * update, low latency in dispatch. Made once, not in each step.
 */
public final class LayoutInfo extends EpStruct {
    private final @Nullable EpTensor expertCounters;
    private final @Nullable EpTensor sourceRankCounters;
    private final @Nullable EpTensor expertOffsets;
    private final @Nullable EpTensor receivedTotal;
    private final ExpertIds expertIds;

    private LayoutInfo(Builder b) {
        super(ncclEpLayoutInfo_t.layout(), NcclEp.NCCL_EP_LAYOUT_INFO_V2_SIZE(), b.expertCounters, b.sourceRankCounters,
                b.expertOffsets, b.receivedTotal);
        this.expertCounters = b.expertCounters;
        this.sourceRankCounters = b.sourceRankCounters;
        this.expertOffsets = b.expertOffsets;
        this.receivedTotal = b.receivedTotal;
        this.expertIds = b.expertIds;
        ncclEpLayoutInfo_t.expert_counters(struct(), pointer(expertCounters));
        ncclEpLayoutInfo_t.src_rank_counters(struct(), pointer(sourceRankCounters));
        ncclEpLayoutInfo_t.expert_offsets(struct(), pointer(expertOffsets));
        ncclEpLayoutInfo_t.recv_total_counter(struct(), pointer(receivedTotal));
        ncclEpLayoutInfo_t.recv_topk_idx_kind(struct(), expertIds.code());
    }

    /**
     * {@return rows per local expert only}
     *
     * @param expertCounters {@code [localExperts]} int32
     */
    public static LayoutInfo of(EpTensor expertCounters) {
        return builder().expertCounters(expertCounters).build();
    }

    /** The counters that are not null. */
    static LayoutInfo of(@Nullable EpTensor expertCounters, @Nullable EpTensor sourceRankCounters,
            @Nullable EpTensor expertOffsets, @Nullable EpTensor receivedTotal) {
        Builder builder = builder();
        builder.expertCounters = expertCounters;
        builder.sourceRankCounters = sourceRankCounters;
        builder.expertOffsets = expertOffsets;
        builder.receivedTotal = receivedTotal;
        return builder.build();
    }

    /**
     * Nothing yet.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects the fields. */
    public static final class Builder {
        private @Nullable EpTensor expertCounters;
        private @Nullable EpTensor sourceRankCounters;
        private @Nullable EpTensor expertOffsets;
        private @Nullable EpTensor receivedTotal;
        private ExpertIds expertIds = ExpertIds.AUTO;

        private Builder() {
        }

        /**
         * Rows per local expert, {@code [localExperts]}: int32; in EXPERT_MAJOR of high throughput also int64, and
         * padding counts.
         *
         * @param value where the numbers go
         * @return this builder
         */
        public Builder expertCounters(EpTensor value) {
            expertCounters = value;
            return this;
        }

        /**
         * Rows per source rank, {@code [ranks]} int32: RANK_MAJOR.
         *
         * @param value where the numbers go
         * @return this builder
         */
        public Builder sourceRankCounters(EpTensor value) {
            sourceRankCounters = value;
            return this;
        }

        /**
         * First row of each local expert's zone, {@code [localExperts]} int32 or int64: EXPERT_MAJOR of high
         * throughput.
         *
         * @param value where the numbers go
         * @return this builder
         */
        public Builder expertOffsets(EpTensor value) {
            expertOffsets = value;
            return this;
        }

        /**
         * All rows received, {@code [1]} int32 or int64: high throughput.
         *
         * @param value where the numbers go
         * @return this builder
         */
        public Builder receivedTotal(EpTensor value) {
            receivedTotal = value;
            return this;
        }

        /**
         * How experts are numbered in received indices: RANK_MAJOR and FLAT, in dispatch.
         *
         * @param value the numbering
         * @return this builder
         */
        public Builder expertIds(ExpertIds value) {
            expertIds = value;
            return this;
        }

        /** {@return the struct} */
        public LayoutInfo build() {
            return new LayoutInfo(this);
        }
    }

    /** {@return {@code expert_counters}} */
    public @Nullable EpTensor expertCounters() {
        return expertCounters;
    }

    /** {@return {@code src_rank_counters}} */
    public @Nullable EpTensor sourceRankCounters() {
        return sourceRankCounters;
    }

    /** {@return {@code expert_offsets}} */
    public @Nullable EpTensor expertOffsets() {
        return expertOffsets;
    }

    /** {@return {@code recv_total_counter}} */
    public @Nullable EpTensor receivedTotal() {
        return receivedTotal;
    }

    LayerTensors.Counters facts() {
        return new LayerTensors.Counters(EpTensor.facts(expertCounters), EpTensor.facts(sourceRankCounters),
                EpTensor.facts(expertOffsets), EpTensor.facts(receivedTotal));
    }

    /** {@return {@code recv_topk_idx_kind}} */
    public ExpertIds expertIds() {
        return expertIds;
    }
}
