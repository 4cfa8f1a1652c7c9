package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a layer's update, dispatch and combine by algorithm and layout; null for one that is not there. The
 * one table of their types and extents: buffers are allocated by it, sizes added up from it, and the arguments of calls
 * compared with it.
 *
 * @param routing of this rank's tokens, {@code topk_idx}
 * @param dispatch in and out
 * @param counters that the device writes
 * @param combine in and out
 */
record LayerTensors(TensorShape routing, Dispatch dispatch, Counters counters, Combine combine) {
    /**
     * {@code ncclEpDispatchInputs_t} and {@code ncclEpDispatchOutputs_t}.
     *
     * @param tokens of this rank
     * @param weights of this rank's tokens
     * @param scales of this rank's tokens
     * @param received tokens
     * @param receivedWeights a row for each received token
     * @param receivedIndices a row for each received token
     * @param receivedScales a row for each received token
     */
    record Dispatch(TensorShape tokens, @Nullable TensorShape weights, @Nullable TensorShape scales,
            TensorShape received, @Nullable TensorShape receivedWeights, @Nullable TensorShape receivedIndices,
            @Nullable TensorShape receivedScales) {

        /** @param rows extents of received rows but the last */
        static Dispatch of(HandleShape s, RowFormat format, PassDirection direction, long tokens, long... rows) {
            boolean lowLatency = s.isLowLatency();
            boolean experts = s.isExpertMajor();
            boolean forward = direction == PassDirection.FORWARD;
            DataType scaleType = format.scaleType();
            return new Dispatch(TensorShape.of(format.type(), tokens, format.elements()),
                    !forward || lowLatency && experts ? null : TensorShape.of(DataType.FLOAT32, tokens, s.topK()),
                    format.recipe() != DispatchRecipe.QUANT_FWD || scaleType == null
                            ? null
                            : TensorShape.of(scaleType, tokens, format.scaleElements()),
                    window(lowLatency, wide(format.receivedType(), rows, format.elements())),
                    !forward || lowLatency && experts ? null : rowWeights(s, rows),
                    !forward || experts ? null : wide(lowLatency ? DataType.INT32 : DataType.INT64, rows, s.topK()),
                    scaleType == null ? null : window(lowLatency, wide(scaleType, rows, format.scaleElements())));
        }
    }

    /**
     * {@code ncclEpLayoutInfo_t}.
     *
     * @param experts rows per local expert
     * @param sourceRanks rows per source rank
     * @param offsets first row of each local expert's zone
     * @param total all rows
     */
    record Counters(@Nullable TensorShape experts, @Nullable TensorShape sourceRanks, @Nullable TensorShape offsets,
            @Nullable TensorShape total) {

        static Counters of(HandleShape s) {
            boolean perRank = s.layout() == Layout.RANK_MAJOR;
            TensorShape perExpert = TensorShape.of(DataType.INT32, s.localExperts());
            return new Counters(perRank ? null : perExpert, perRank ? TensorShape.of(DataType.INT32, s.ranks()) : null,
                    s.isExpertMajor() && !s.isLowLatency() ? perExpert : null,
                    s.isLowLatency() ? null : TensorShape.of(DataType.INT32, 1));
        }
    }

    /**
     * {@code ncclEpCombineInputs_t} and {@code ncclEpCombineOutputs_t}.
     *
     * @param outputs of the experts
     * @param gradients of the weights of received tokens: the backward pass
     * @param scales of the experts' outputs
     * @param combined tokens of this rank
     * @param weights of this rank's tokens: read by EXPERT_MAJOR of low latency, written by the backward pass
     */
    record Combine(TensorShape outputs, @Nullable TensorShape gradients, @Nullable TensorShape scales,
            TensorShape combined, @Nullable TensorShape weights) {

        /** @param rows extents of received rows but the last */
        static Combine of(HandleShape s, DataType type, long hidden, CombineConfig config, long tokens, long... rows) {
            boolean backward = config.direction() == PassDirection.BACKWARD;
            return new Combine(window(s.isLowLatency(), wide(type, rows, hidden)),
                    backward ? rowWeights(s, rows) : null,
                    config.recipe() == CombineRecipe.NVFP4 ? wide(DataType.FLOAT32, rows, 1) : null,
                    TensorShape.of(type, tokens, hidden),
                    backward || s.isLowLatency() && s.isExpertMajor()
                            ? TensorShape.of(DataType.FLOAT32, tokens, s.topK())
                            : null);
        }
    }

    /** Everything that a forward pass with {@code config} needs, at maximum capacity. */
    static LayerTensors of(HandleShape s, BufferConfig config) {
        long tokens = s.maxTokens();
        long[] rows = s.receivedRows();
        return new LayerTensors(TensorShape.of(config.routingType(), tokens, s.topK()),
                Dispatch.of(s, config.format(), PassDirection.FORWARD, tokens, rows), Counters.of(s),
                Combine.of(s, config.type(), config.hidden(), config.combine(), tokens, rows));
    }

    /** High throughput writes received rows directly, and reads the experts' outputs so. */
    private static TensorShape window(boolean lowLatency, TensorShape shape) {
        return lowLatency ? shape : shape.windowed();
    }

    /** Of received rows: one each in EXPERT_MAJOR, which has a row for each expert of a token. */
    private static TensorShape rowWeights(HandleShape s, long... rows) {
        return s.isExpertMajor() ? TensorShape.of(DataType.FLOAT32, rows) : wide(DataType.FLOAT32, rows, s.topK());
    }

    private static TensorShape wide(DataType type, long[] rows, long width) {
        return rows.length == 1 ? TensorShape.of(type, rows[0], width) : TensorShape.of(type, rows[0], rows[1], width);
    }

    /** Routing weights of this rank's tokens, which every layout has: in dispatch, or in combine. */
    TensorShape weights() {
        return TensorShape.of(DataType.FLOAT32, routing.extents());
    }

    long totalBytes() {
        return Stream
                .of(routing, dispatch.tokens, dispatch.scales, weights(), dispatch.received, dispatch.receivedWeights,
                        dispatch.receivedIndices, dispatch.receivedScales, combine.outputs, combine.scales,
                        combine.combined, counters.experts, counters.sourceRanks, counters.offsets, counters.total)
                .filter(Objects::nonNull).mapToLong(TensorShape::bytes)
                .reduce(0, (a, b) -> Sizes.sum("bytes of buffers", a, b));
    }
}
