package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.Arrays;

/**
 * A tensor as rules and sizes see it: numbers only.
 *
 * @param type of the elements
 * @param address on the device; 0 if it is still to be allocated
 * @param inWindow whether the other ranks can reach it
 * @param extents rows first
 */
@SuppressWarnings("ArrayRecordComponent")
record TensorShape(DataType type, long address, boolean inWindow, long... extents) {
    /** A tensor to be allocated, {@code extents} rows first. */
    static TensorShape of(DataType type, long... extents) {
        return new TensorShape(type, 0, false, extents);
    }

    /** The same in a window. */
    TensorShape windowed() {
        return new TensorShape(type, address, true, extents);
    }

    long rows() {
        return extents[0];
    }

    int dimensions() {
        return extents.length;
    }

    /** The last extent: elements of a row of features. */
    long width() {
        return extents[extents.length - 1];
    }

    /** Elements from one row to the next. */
    private long rowElements() {
        return Sizes.product("elements of a row", Arrays.copyOfRange(extents, 1, extents.length));
    }

    /** Bytes from one row to the next. */
    long rowBytes() {
        return type.bytes(rowElements());
    }

    /** Bytes of all rows. */
    long bytes() {
        return type.bytes(Sizes.product("elements", extents));
    }

    boolean has(DataType expected, long... expectedExtents) {
        return type == expected && Arrays.equals(extents, expectedExtents);
    }

    /** Whether type and extents are those of {@code other}. */
    boolean isLike(TensorShape other) {
        return has(other.type, other.extents);
    }

    @Override
    public String toString() {
        return type + Arrays.toString(extents) + (inWindow ? " in a window" : "");
    }
}
