package io.nccl4j.cuda;

/**
 * The extent of a grid in blocks, or of a block in threads; {@code dim3}.
 *
 * @param x at least 1
 * @param y at least 1
 * @param z at least 1
 */
public record Dim3(int x, int y, int z) {
    /**
     * Checks the extents.
     *
     * @throws IllegalArgumentException if one of them is less than 1
     */
    public Dim3 {
        if (x < 1 || y < 1 || z < 1) {
            throw new IllegalArgumentException(
                    "Dim3 " + x + " × " + y + " × " + z + ": each extent must be at least 1");
        }
    }

    /**
     * {@return one-dimensional extents}
     *
     * @param x extent in x, at least 1
     */
    public static Dim3 of(int x) {
        return new Dim3(x, 1, 1);
    }

    /**
     * {@return two-dimensional extents}
     *
     * @param x extent in x, at least 1
     * @param y extent in y, at least 1
     */
    public static Dim3 of(int x, int y) {
        return new Dim3(x, y, 1);
    }

    /** {@return three-dimensional extents} */
    public static Dim3 of(int x, int y, int z) {
        return new Dim3(x, y, z);
    }

    /** {@code x × y × z}. */
    @Override
    public String toString() {
        return x + " × " + y + " × " + z;
    }
}
