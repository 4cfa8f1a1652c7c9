package io.nccl4j.ep;

import io.nccl4j.bindings.dlpack.DLDataType;
import io.nccl4j.bindings.dlpack.Dlpack;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.stream.Collectors;

/** A type of elements as DLPack has it, {@code DLDataType}. */
record DlpackType(int code, int bits, int lanes) {
    static DlpackType of(DataType type) {
        int bits = Byte.SIZE * type.byteSize();
        return switch (type) {
            case INT8, INT32, INT64 -> new DlpackType(Dlpack.kDLInt(), bits, 1);
            case UINT8, UINT32, UINT64 -> new DlpackType(Dlpack.kDLUInt(), bits, 1);
            case FLOAT16, FLOAT32, FLOAT64 -> new DlpackType(Dlpack.kDLFloat(), bits, 1);
            case BFLOAT16 -> new DlpackType(Dlpack.kDLBfloat(), bits, 1);
            case FLOAT8_E4M3 -> new DlpackType(Dlpack.kDLFloat8_e4m3fn(), bits, 1);
            case FLOAT8_E5M2 -> new DlpackType(Dlpack.kDLFloat8_e5m2(), bits, 1);
            case FLOAT4X2 -> new DlpackType(Dlpack.kDLFloat4_e2m1fn(), bits / 2, 2);
        };
    }

    /**
     * @param flags of the tensor
     * @throws IllegalArgumentException for a type that NCCL EP does not have
     */
    static DataType read(MemorySegment struct, long flags) {
        DlpackType given = new DlpackType(Byte.toUnsignedInt(DLDataType.code(struct)),
                Byte.toUnsignedInt(DLDataType.bits(struct)), Short.toUnsignedInt(DLDataType.lanes(struct)));
        boolean padded = (flags & Dlpack.DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED()) != 0 && given.bits < Byte.SIZE;
        return Arrays.stream(DataType.values()).filter(type -> !padded && of(type).equals(given)).findAny()
                .orElseThrow(() -> DlpackExchange.refused("has elements of " + given + (padded ? ", padded" : ""),
                        "of one of " + Arrays.stream(DataType.values()).map(type -> type + " " + of(type))
                                .collect(Collectors.joining(", "))));
    }

    @Override
    public String toString() {
        return "(code " + code + ", " + bits + " bits, " + lanes + " lanes)";
    }
}
