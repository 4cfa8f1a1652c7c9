package io.nccl4j.oracle;

/** The number formats of token rows and scales; conversions from {@code float} round to nearest, ties to even. */
public enum NumberFormat {
    FLOAT32(4) {
        @Override
        public float decode(int bits) {
            return Float.intBitsToFloat(bits);
        }

        @Override
        public int encode(float value) {
            return Float.floatToRawIntBits(value);
        }
    },
    FLOAT16(2) {
        @Override
        public float decode(int bits) {
            return Float.float16ToFloat((short) bits);
        }

        @Override
        public int encode(float value) {
            return Float.isNaN(value) ? 0x7fff : Float.floatToFloat16(value) & 0xffff;
        }
    },
    BFLOAT16(2) {
        @Override
        public float decode(int bits) {
            return Float.intBitsToFloat(bits << 16);
        }

        @Override
        public int encode(float value) {
            if (Float.isNaN(value)) {
                return 0x7fff;
            }
            int bits = Float.floatToRawIntBits(value);
            int odd = bits >>> 16 & 1;
            return bits + 0x7fff + odd >>> 16;
        }
    },
    /** 4 exponent bits, 3 mantissa bits, no infinity; values beyond ±448 saturate. */
    FLOAT8_E4M3(1) {
        private static final MiniFloat FORMAT = new MiniFloat(4, 3, 0x7e, 0x7f);

        @Override
        public float decode(int bits) {
            return FORMAT.decode(bits);
        }

        @Override
        public int encode(float value) {
            return FORMAT.encode(value);
        }
    },
    /** 5 exponent bits, 2 mantissa bits, with infinity; finite values beyond ±57344 saturate. */
    FLOAT8_E5M2(1) {
        private static final MiniFloat FORMAT = new MiniFloat(5, 2, 0x7b, 0x7f);

        @Override
        public float decode(int bits) {
            return (bits & 0x7f) == 0x7c
                    ? (bits & 0x80) != 0 ? Float.NEGATIVE_INFINITY : Float.POSITIVE_INFINITY
                    : FORMAT.decode(bits);
        }

        @Override
        public int encode(float value) {
            return FORMAT.encode(value);
        }
    };

    private final int bytes;

    NumberFormat(int bytes) {
        this.bytes = bytes;
    }

    /** Size of one element in bytes. */
    public int bytes() {
        return bytes;
    }

    /** The value of an element's bits (in the low {@link #bytes()} bytes). */
    public abstract float decode(int bits);

    /** The element nearest to {@code value}. */
    public abstract int encode(float value);

    /** Element {@code index} of a row. */
    public float get(byte[] row, int index) {
        int at = index * bytes;
        int bits = 0;
        for (int i = 0; i < bytes; i++) {
            bits |= (row[at + i] & 0xff) << 8 * i;
        }
        return decode(bits);
    }

    /** Rounds {@code value} into element {@code index} of a row. */
    public void set(byte[] row, int index, float value) {
        int at = index * bytes;
        int bits = encode(value);
        for (int i = 0; i < bytes; i++) {
            row[at + i] = (byte) (bits >>> 8 * i);
        }
    }

    /** The elements of a row. */
    public float[] decodeRow(byte[] row) {
        float[] values = new float[row.length / bytes];
        for (int i = 0; i < values.length; i++) {
            values[i] = get(row, i);
        }
        return values;
    }

    /** A row of the given elements, each rounded to this format. */
    public byte[] encodeRow(float[] values) {
        byte[] row = new byte[values.length * bytes];
        for (int i = 0; i < values.length; i++) {
            set(row, i, values[i]);
        }
        return row;
    }
}
