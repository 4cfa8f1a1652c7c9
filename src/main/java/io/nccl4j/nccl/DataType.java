package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.ncclep.NcclEp;

/** Type of an element, {@code ncclDataType_t}. */
public enum DataType {
    /** 8-bit signed integer. */
    INT8(Nccl.ncclInt8(), 1),
    /** 8-bit unsigned integer. */
    UINT8(Nccl.ncclUint8(), 1),
    /** 32-bit signed integer. */
    INT32(Nccl.ncclInt32(), 4),
    /** 32-bit unsigned integer. */
    UINT32(Nccl.ncclUint32(), 4),
    /** 64-bit signed integer. */
    INT64(Nccl.ncclInt64(), 8),
    /** 64-bit unsigned integer. */
    UINT64(Nccl.ncclUint64(), 8),
    /** IEEE 754 binary16. */
    FLOAT16(Nccl.ncclFloat16(), 2),
    /** IEEE 754 binary32. */
    FLOAT32(Nccl.ncclFloat32(), 4),
    /** IEEE 754 binary64. */
    FLOAT64(Nccl.ncclFloat64(), 8),
    /** The upper half of a binary32. */
    BFLOAT16(Nccl.ncclBfloat16(), 2),
    /** 8-bit float with 4 exponent and 3 mantissa bits; no infinities. */
    FLOAT8_E4M3(Nccl.ncclFloat8e4m3(), 1),
    /** 8-bit float with 5 exponent and 2 mantissa bits. */
    FLOAT8_E5M2(Nccl.ncclFloat8e5m2(), 1),
    /** Two 4-bit floats in one byte, which counts as one element. NCCL EP only; NCCL's collectives do not know it. */
    FLOAT4X2(NcclEp.ncclFloat4x2(), 1);

    private final int code;
    private final int byteSize;

    DataType(int code, int byteSize) {
        this.code = code;
        this.byteSize = byteSize;
    }

    /** {@return the number that C knows it by} */
    public int code() {
        return code;
    }

    /** {@return bytes of one element} */
    public int byteSize() {
        return byteSize;
    }

    /**
     * {@return bytes of so many elements}
     *
     * @param elements number of elements
     * @throws IllegalArgumentException if there are fewer than 0, or more than 2^63-1 bytes of them
     */
    public long bytes(long elements) {
        if (elements < 0 || elements > Long.MAX_VALUE / byteSize) {
            throw new IllegalArgumentException(elements + " elements of " + this + " are not a size");
        }
        return elements * byteSize;
    }
}
