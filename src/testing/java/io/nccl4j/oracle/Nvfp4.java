package io.nccl4j.oracle;

/**
 * A row as combine recipe NVFP4 sends it: four-bit values, a scale in e4m3 for each block of 16, and the row's own
 * scale, which the caller chooses. A value is {@code value * blockScale * inverseScale}.
 *
 * <p>The device computes reciprocals approximately, this does so exactly: equal to the emulator bit by bit, to a GPU
 * but for values that lie close to a rounding boundary.
 */
final class Nvfp4 {
    private static final int BLOCK = 16;
    private static final MiniFloat E2M1 = new MiniFloat(2, 1, 7, -1);
    private static final float LARGEST = 6f;

    private final int[] values;
    private final int[] blockScales;
    private final float inverseScale;

    private Nvfp4(int[] values, int[] blockScales, float inverseScale) {
        this.values = values;
        this.blockScales = blockScales;
        this.inverseScale = inverseScale;
    }

    /** @param scale the row's scale */
    static Nvfp4 quantise(float[] row, float scale) {
        int[] values = new int[row.length];
        int[] blockScales = new int[row.length / BLOCK];
        for (int block = 0; block < blockScales.length; block++) {
            float largest = 0;
            for (int i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
                largest = Math.max(largest, Math.abs(row[i]));
            }
            float wanted = scale * (largest * (1 / LARGEST));
            blockScales[block] = NumberFormat.FLOAT8_E4M3.encode(wanted);
            float stored = NumberFormat.FLOAT8_E4M3.decode(blockScales[block]);
            float inverse = wanted == 0 ? 0 : 1 / (stored * (scale == 0 ? 0 : 1 / scale));
            for (int i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
                values[i] = E2M1.encode(row[i] * inverse);
            }
        }
        float inverseScale = 1 / scale;
        return new Nvfp4(values, blockScales, Float.isInfinite(inverseScale) ? 1 : inverseScale);
    }

    float value(int index) {
        return E2M1.decode(values[index]);
    }

    float blockScale(int index) {
        return NumberFormat.FLOAT8_E4M3.decode(blockScales[index / BLOCK]);
    }

    float inverseScale() {
        return inverseScale;
    }
}
