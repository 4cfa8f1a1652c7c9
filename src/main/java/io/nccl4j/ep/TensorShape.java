package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;

/** The type and the extents of a tensor that is to be allocated. */
@SuppressWarnings("ArrayRecordComponent")
record TensorShape(DataType type, long... extents) {
    long bytes() {
        return bytes(type, extents);
    }

    static long bytes(DataType type, long... extents) {
        long elements = 1;
        for (long extent : extents) {
            elements = Math.multiplyExact(elements, extent);
        }
        return type.bytes(elements);
    }
}
