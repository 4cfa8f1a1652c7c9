package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.MemorySegment;

/**
 * Conversion of rows of float16, IEEE 754 binary16. Values round to nearest, ties to even; too large ones become
 * infinite.
 */
public final class Float16 {
    private Float16() {
    }

    /**
     * Writes {@code values} as float16 from element {@code index} of {@code target} on.
     *
     * @param values the values
     * @param target host memory to write
     * @param index number of the first value, from 0
     */
    public static void write(float[] values, MemorySegment target, long index) {
        for (int i = 0; i < values.length; i++) {
            target.setAtIndex(JAVA_SHORT, index + i, Float.floatToFloat16(values[i]));
        }
    }

    /**
     * Fills {@code values} with the float16 from element {@code index} of {@code source} on.
     *
     * @param source host memory to read
     * @param index number of the first value, from 0
     * @param values the values
     */
    public static void read(MemorySegment source, long index, float[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] = Float.float16ToFloat(source.getAtIndex(JAVA_SHORT, index + i));
        }
    }
}
