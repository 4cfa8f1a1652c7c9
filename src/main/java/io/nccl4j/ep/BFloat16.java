package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.MemorySegment;

/** Conversion of bfloat16, the upper half of a binary32. Values round to nearest, ties to even. */
public final class BFloat16 {
    private static final int QUIET_NAN = 0x7fff;

    private BFloat16() {
    }

    /**
     * {@return the value of the 16 bits}
     *
     * @param bits the 16 bits
     */
    public static float toFloat(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /**
     * {@return the 16 bits nearest to a value}
     *
     * @param value the value
     */
    public static short fromFloat(float value) {
        if (Float.isNaN(value)) {
            return QUIET_NAN;
        }
        int bits = Float.floatToRawIntBits(value);
        return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
    }

    /**
     * Writes {@code values} as bfloat16 from element {@code index} of {@code target} on.
     *
     * @param values the values
     * @param target host memory to write
     * @param index number of the first value, from 0
     */
    public static void write(float[] values, MemorySegment target, long index) {
        for (int i = 0; i < values.length; i++) {
            target.setAtIndex(JAVA_SHORT, index + i, fromFloat(values[i]));
        }
    }

    /**
     * Fills {@code values} with the bfloat16 from element {@code index} of {@code source} on.
     *
     * @param source host memory to read
     * @param index number of the first value, from 0
     * @param values the values
     */
    public static void read(MemorySegment source, long index, float[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] = toFloat(source.getAtIndex(JAVA_SHORT, index + i));
        }
    }
}
