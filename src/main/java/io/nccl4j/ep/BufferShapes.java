package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Shapes of the tensors of {@link EpBuffers}; null for what the layout or the recipe does not have.
 *
 * @param routing of this rank's tokens
 * @param tokens of this rank
 * @param scales that the caller gives with tokens
 * @param weights of this rank's tokens
 * @param received tokens
 * @param receivedScales with them
 * @param receivedWeights with them
 * @param receivedIndices with them
 * @param outputs of the experts
 * @param outputScales that the caller gives with outputs
 * @param combined tokens of this rank
 * @param counts per local expert or per source rank
 * @param offsets of experts' zones
 * @param total rows received
 */
record BufferShapes(TensorShape routing, TensorShape tokens, @Nullable TensorShape scales, TensorShape weights,
        TensorShape received, @Nullable TensorShape receivedScales, @Nullable TensorShape receivedWeights,
        @Nullable TensorShape receivedIndices, TensorShape outputs, @Nullable TensorShape outputScales,
        TensorShape combined, TensorShape counts, @Nullable TensorShape offsets, @Nullable TensorShape total) {

    /**
     * @param receiveRows most rows received, high throughput
     * @param config of the rows
     */
    static BufferShapes of(EpGroupConfig group, EpSizing sizing, int ranks, Layout layout, int topK, long receiveRows,
            BufferConfig config) {
        long tokens = group.maxTokensPerRank();
        int experts = sizing.localExperts();
        boolean zones = layout == Layout.EXPERT_MAJOR;
        boolean lowLatency = group.algorithm() == Algorithm.LOW_LATENCY;
        long[] rows = !lowLatency
                ? new long[]{receiveRows}
                : zones ? new long[]{experts, ranks * tokens} : new long[]{ranks, tokens};
        TensorShape experted = new TensorShape(DataType.INT32, experts);
        DataType scaleType = config.scaleType();
        return new BufferShapes(new TensorShape(DataType.INT64, tokens, topK),
                new TensorShape(config.tokenType(), tokens, config.tokenElements()),
                scaleType != null && config.dispatchRecipe() == DispatchRecipe.QUANT_FWD
                        ? new TensorShape(scaleType, tokens, config.scaleElements())
                        : null,
                new TensorShape(DataType.FLOAT32, tokens, topK),
                of(config.receivedType(), rows, config.tokenElements()),
                scaleType == null ? null : of(scaleType, rows, config.scaleElements()),
                !zones ? of(DataType.FLOAT32, rows, topK) : lowLatency ? null : new TensorShape(DataType.FLOAT32, rows),
                zones ? null : of(lowLatency ? DataType.INT32 : DataType.INT64, rows, topK),
                of(config.type(), rows, config.hidden()),
                config.combineRecipe() == CombineRecipe.NVFP4 ? of(DataType.FLOAT32, rows, 1) : null,
                new TensorShape(config.type(), tokens, config.hidden()),
                layout == Layout.RANK_MAJOR ? new TensorShape(DataType.INT32, ranks) : experted,
                zones && !lowLatency ? experted : null, lowLatency ? null : new TensorShape(DataType.INT32, 1));
    }

    private static TensorShape of(DataType type, long[] rows, long width) {
        return rows.length == 1
                ? new TensorShape(type, rows[0], width)
                : new TensorShape(type, rows[0], rows[1], width);
    }

    long totalBytes() {
        return Stream.of(routing, tokens, scales, weights, received, receivedScales, receivedWeights, receivedIndices,
                outputs, outputScales, combined, counts, offsets, total).filter(Objects::nonNull)
                .mapToLong(TensorShape::bytes).reduce(0, Math::addExact);
    }
}
