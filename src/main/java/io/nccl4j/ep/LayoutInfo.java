package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpLayoutInfo_t;
import org.jspecify.annotations.Nullable;

/**
 * Where received tokens lie, {@code ncclEpLayoutInfo_t}: counters that the device writes. High throughput takes it in
 * update, low latency in dispatch. Made once, not in each step; immutable: each method returns the changed struct.
 */
public final class LayoutInfo extends EpStruct {
    private final @Nullable EpTensor expertCounters;
    private final @Nullable EpTensor sourceRankCounters;
    private final @Nullable EpTensor expertOffsets;
    private final @Nullable EpTensor receivedTotal;
    private final ExpertIds expertIds;

    private LayoutInfo(@Nullable EpTensor expertCounters, @Nullable EpTensor sourceRankCounters,
            @Nullable EpTensor expertOffsets, @Nullable EpTensor receivedTotal, ExpertIds expertIds) {
        super(ncclEpLayoutInfo_t.layout(), NcclEp.NCCL_EP_LAYOUT_INFO_V2_SIZE(), expertCounters, sourceRankCounters,
                expertOffsets, receivedTotal);
        this.expertCounters = expertCounters;
        this.sourceRankCounters = sourceRankCounters;
        this.expertOffsets = expertOffsets;
        this.receivedTotal = receivedTotal;
        this.expertIds = expertIds;
        ncclEpLayoutInfo_t.expert_counters(struct(), pointer(expertCounters));
        ncclEpLayoutInfo_t.src_rank_counters(struct(), pointer(sourceRankCounters));
        ncclEpLayoutInfo_t.expert_offsets(struct(), pointer(expertOffsets));
        ncclEpLayoutInfo_t.recv_total_counter(struct(), pointer(receivedTotal));
        ncclEpLayoutInfo_t.recv_topk_idx_kind(struct(), expertIds.code());
    }

    /** {@return no counters, and experts numbered as the library does by default} */
    public static LayoutInfo empty() {
        return of(null, null, null, null);
    }

    /**
     * {@return rows per local expert only}
     *
     * @param expertCounters {@code [localExperts]} int32
     */
    public static LayoutInfo of(EpTensor expertCounters) {
        return of(expertCounters, null, null, null);
    }

    /** The counters that are not null. */
    static LayoutInfo of(@Nullable EpTensor expertCounters, @Nullable EpTensor sourceRankCounters,
            @Nullable EpTensor expertOffsets, @Nullable EpTensor receivedTotal) {
        return new LayoutInfo(expertCounters, sourceRankCounters, expertOffsets, receivedTotal, ExpertIds.AUTO);
    }

    /**
     * Rows per local expert, {@code [localExperts]}: int32; in EXPERT_MAJOR of high throughput also int64, and padding
     * counts.
     *
     * @param value where the numbers go
     * @return the changed struct
     */
    public LayoutInfo expertCounters(EpTensor value) {
        return new LayoutInfo(value, sourceRankCounters, expertOffsets, receivedTotal, expertIds);
    }

    /**
     * Rows per source rank, {@code [ranks]} int32: RANK_MAJOR.
     *
     * @param value where the numbers go
     * @return the changed struct
     */
    public LayoutInfo sourceRankCounters(EpTensor value) {
        return new LayoutInfo(expertCounters, value, expertOffsets, receivedTotal, expertIds);
    }

    /**
     * First row of each local expert's zone, {@code [localExperts]} int32 or int64: EXPERT_MAJOR of high throughput.
     *
     * @param value where the numbers go
     * @return the changed struct
     */
    public LayoutInfo expertOffsets(EpTensor value) {
        return new LayoutInfo(expertCounters, sourceRankCounters, value, receivedTotal, expertIds);
    }

    /**
     * All rows received, {@code [1]} int32 or int64: high throughput.
     *
     * @param value where the numbers go
     * @return the changed struct
     */
    public LayoutInfo receivedTotal(EpTensor value) {
        return new LayoutInfo(expertCounters, sourceRankCounters, expertOffsets, value, expertIds);
    }

    /**
     * How experts are numbered in received indices: RANK_MAJOR and FLAT, in dispatch.
     *
     * @param value the numbering
     * @return the changed struct
     */
    public LayoutInfo expertIds(ExpertIds value) {
        return new LayoutInfo(expertCounters, sourceRankCounters, expertOffsets, receivedTotal, value);
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
