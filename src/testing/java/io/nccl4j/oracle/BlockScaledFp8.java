package io.nccl4j.oracle;

/**
 * The quantisation of recipe DS_FP8E3M4: bfloat16 rows become e4m3 with one {@code float} scale per block of 128
 * elements; an element is about its e4m3 value times the block's scale.
 */
public final class BlockScaledFp8 {
    private static final int BLOCK = 128;
    private static final float LARGEST = 448f;

    private BlockScaledFp8() {
    }

    /**
     * The rows that travel instead of the tokens of {@code inputs}, which are bfloat16.
     *
     * @param powersOfTwo whether scales are rounded up to powers of two ({@code round_scales})
     */
    public static GlobalInputs quantise(GlobalInputs inputs, boolean powersOfTwo) {
        byte[][][] rows = inputs.tokens();
        byte[][][] tokens = new byte[rows.length][][];
        byte[][][] scales = new byte[rows.length][][];
        for (int rank = 0; rank < rows.length; rank++) {
            tokens[rank] = new byte[rows[rank].length][];
            scales[rank] = new byte[rows[rank].length][];
            for (int token = 0; token < rows[rank].length; token++) {
                float[] values = NumberFormat.BFLOAT16.decodeRow(rows[rank][token]);
                tokens[rank][token] = new byte[values.length];
                scales[rank][token] = new byte[values.length / BLOCK * Float.BYTES];
                quantise(values, powersOfTwo, tokens[rank][token], scales[rank][token]);
            }
        }
        return new GlobalInputs(inputs.routing(), tokens, scales, inputs.weights());
    }

    /** The values of such a row. */
    public static float[] decode(byte[] token, byte[] scales) {
        float[] values = NumberFormat.FLOAT8_E4M3.decodeRow(token);
        for (int i = 0; i < values.length; i++) {
            values[i] *= NumberFormat.FLOAT32.get(scales, i / BLOCK);
        }
        return values;
    }

    private static void quantise(float[] values, boolean powersOfTwo, byte[] token, byte[] scales) {
        for (int block = 0; block < values.length / BLOCK; block++) {
            float largest = 1e-4f;
            for (int i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
                largest = Math.max(largest, Math.abs(values[i]));
            }
            float scale = LARGEST / largest;
            float inverse = largest * (1 / LARGEST);
            if (powersOfTwo) {
                int bits = Float.floatToRawIntBits(inverse);
                int exponent = (bits >>> 23) - 127 + ((bits & 0x7fffff) != 0 ? 1 : 0);
                scale = Math.scalb(1f, -exponent);
                inverse = Math.scalb(1f, exponent);
            }
            for (int i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
                NumberFormat.FLOAT8_E4M3.set(token, i, values[i] * scale);
            }
            NumberFormat.FLOAT32.set(scales, block, inverse);
        }
    }
}
