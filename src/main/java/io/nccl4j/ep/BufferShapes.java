package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;

/**
 * Shapes of the tensors of {@link EpBuffers}; one with no extents is not there in the layout.
 *
 * @param type of tokens
 * @param routing int64
 * @param tokens of this rank, also of the combined ones
 * @param weights float32
 * @param received tokens, also of the experts' outputs
 * @param receivedWeights float32
 * @param receivedIndices of the index type
 * @param indexType int32 in RANK_MAJOR, int64 in FLAT
 * @param counts int32, per local expert or per source rank
 * @param offsets int32
 * @param total int32
 */
record BufferShapes(DataType type, long[] routing, long[] tokens, long[] weights, long[] received,
        long[] receivedWeights,
        long[] receivedIndices, DataType indexType, long[] counts, long[] offsets, long[] total) {
    private static final long[] NONE = {};

    static BufferShapes of(EpGroupConfig config, EpSizing sizing, int ranks, Layout layout, int topK, long receiveRows,
            int hidden,
            DataType type) {
        long tokens = config.maxTokensPerRank();
        long[] routing = {tokens, topK};
        long[] sent = {tokens, hidden};
        long[] experts = {sizing.localExperts()};
        if (config.algorithm() == Algorithm.HIGH_THROUGHPUT) {
            boolean flat = layout == Layout.FLAT;
            return new BufferShapes(type, routing, sent, routing, new long[]{receiveRows, hidden},
                    flat ? new long[]{receiveRows, topK} : new long[]{receiveRows},
                    flat ? new long[]{receiveRows, topK} : NONE, DataType.INT64, experts, flat ? NONE : experts,
                    new long[]{1});
        }
        if (layout == Layout.EXPERT_MAJOR) {
            return new BufferShapes(type, routing, sent, routing,
                    new long[]{sizing.localExperts(), ranks * tokens, hidden}, NONE,
                    NONE, DataType.INT32, experts, NONE, NONE);
        }
        long[] perSource = {ranks, tokens, topK};
        return new BufferShapes(type, routing, sent, routing, new long[]{ranks, tokens, hidden}, perSource, perSource,
                DataType.INT32, new long[]{ranks}, NONE, NONE);
    }

    long totalBytes() {
        return bytes(DataType.INT64, routing) + 2 * bytes(type, tokens) + bytes(DataType.FLOAT32, weights)
                + 2 * bytes(type, received) + bytes(DataType.FLOAT32, receivedWeights)
                + bytes(indexType, receivedIndices)
                + bytes(DataType.INT32, counts) + bytes(DataType.INT32, offsets) + bytes(DataType.INT32, total);
    }

    static long bytes(DataType type, long[] shape) {
        long elements = shape.length == 0 ? 0 : 1;
        for (long extent : shape) {
            elements = Math.multiplyExact(elements, extent);
        }
        return type.bytes(elements);
    }
}
